//! One statement at a time through rusqlite with its bundled SQLite: see ../../README.md.
use rusqlite::{types::ValueRef, Connection, OpenFlags};
use std::io::{BufRead, Write};
use std::time::Duration;

fn open(path: &str, mode: &str) -> rusqlite::Result<Connection> {
    let access = if mode == "ro" { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    Ok(connection)
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<String> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut first: Option<String> = None;
    while let Some(row) = rows.next()? {
        if first.is_some() {
            continue;
        }
        let mut values = Vec::new();
        for column in 0..columns {
            values.push(match row.get_ref(column)? {
                ValueRef::Null => String::new(),
                ValueRef::Integer(number) => number.to_string(),
                ValueRef::Real(number) => number.to_string(),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            });
        }
        first = Some(values.join("|"));
    }
    Ok(first.unwrap_or_default())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (path, mode) = (&arguments[1], &arguments[2]);
    let mut connection = Some(open(path, mode).expect("open"));
    let say = |answer: rusqlite::Result<String>| {
        match answer {
            Ok(text) => println!("={text}"),
            Err(error) => println!("!{}", error.to_string().replace('\n', " ")),
        }
        std::io::stdout().flush().expect("stdout");
    };
    say(run(connection.as_ref().unwrap(), "SELECT sqlite_version()"));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line of UTF-8");
        if line == ".close" || line == ".reopen" {
            let mut answer = match connection.take() {
                Some(old) => old.close().map_err(|(_, error)| error).map(|()| String::new()),
                None => Ok(String::new()),
            };
            if line == ".reopen" && answer.is_ok() {
                answer = open(path, mode).map(|new| {
                    connection = Some(new);
                    String::new()
                });
            }
            say(answer);
            continue;
        }
        match connection.as_ref() {
            Some(open) => say(run(open, &line)),
            None => println!("!closed"),
        }
    }
}
