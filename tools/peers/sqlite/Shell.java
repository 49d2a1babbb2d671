// One statement at a time through sqlite-jdbc: see README.md.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import org.sqlite.SQLiteConfig;

public class Shell {
  private final String path;
  private final boolean readOnly;
  private Connection connection;

  private Shell(String path, boolean readOnly) {
    this.path = path;
    this.readOnly = readOnly;
  }

  private void open() throws SQLException {
    SQLiteConfig config = new SQLiteConfig();
    config.setReadOnly(readOnly);
    config.setBusyTimeout(1000);
    connection = config.createConnection("jdbc:sqlite:" + path);
  }

  private String run(String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      if (!statement.execute(sql)) return "";
      try (ResultSet rows = statement.getResultSet()) {
        String first = null;
        int columns = rows.getMetaData().getColumnCount();
        while (rows.next()) {
          if (first != null) continue;
          StringBuilder line = new StringBuilder();
          for (int column = 1; column <= columns; ++column) {
            String value = rows.getString(column);
            if (column > 1) line.append('|');
            line.append(value == null ? "" : value);
          }
          first = line.toString();
        }
        return first == null ? "" : first;
      }
    }
  }

  private String answer(String line) {
    try {
      if (line.equals(".close") || line.equals(".reopen")) {
        connection.close();
        if (line.equals(".reopen")) open();
        return "=";
      }
      return "=" + run(line);
    } catch (SQLException error) {
      return "!" + String.valueOf(error.getMessage()).replace('\n', ' ');
    }
  }

  public static void main(String[] args) throws Exception {
    Shell shell = new Shell(args[0], args[1].equals("ro"));
    shell.open();
    System.out.println(shell.answer("SELECT sqlite_version()"));
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      System.out.println(shell.answer(line));
    }
  }
}
