// One statement at a time through a Go driver: see ../README.md.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
)

type shell struct {
	source string
	db     *sql.DB
	conn   *sql.Conn
}

func (s *shell) open() (err error) {
	if s.db, err = sql.Open(driverName, s.source); err != nil {
		return err
	}
	// database/sql is a pool: one connection is taken out of it, so that a transaction stays on it.
	s.db.SetMaxOpenConns(1)
	s.conn, err = s.db.Conn(context.Background())
	return err
}

func (s *shell) close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	if other := s.db.Close(); err == nil {
		err = other
	}
	s.conn = nil
	return err
}

func (s *shell) run(statement string) (string, error) {
	rows, err := s.conn.QueryContext(context.Background(), statement)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	first := []string(nil)
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		places := make([]any, len(columns))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			return "", err
		}
		if first == nil {
			for _, value := range values {
				first = append(first, value.String)
			}
		}
	}
	return strings.Join(first, "|"), rows.Err()
}

func (s *shell) answer(line string) (string, error) {
	switch line {
	case ".close":
		return "", s.close()
	case ".reopen":
		if err := s.close(); err != nil {
			return "", err
		}
		return "", s.open()
	default:
		return s.run(line)
	}
}

func main() {
	s := &shell{source: dataSource(os.Args[1], os.Args[2])}
	say := func(text string, err error) {
		if err != nil {
			fmt.Println("!" + strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("=" + text)
		}
	}
	if err := s.open(); err != nil {
		say("", err)
		os.Exit(1)
	}
	say(s.run("SELECT sqlite_version()"))
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		say(s.answer(lines.Text()))
	}
}
