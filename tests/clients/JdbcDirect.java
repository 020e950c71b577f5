import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.Map;

/** Fetches a result that an executor offers. Arguments: a JDBC URL and a query. Answer: rows and the sum of the first column. */
public class JdbcDirect {
  public static void main(String[] arguments) throws Exception {
    try (Connection connection = DriverManager.getConnection(arguments[0]);
        Statement statement = connection.createStatement()) {
      statement.execute("SET direct_results = 'on'");
      long rows = 0;
      long sum = 0;
      try (ResultSet result = statement.executeQuery(arguments[1])) {
        while (result.next()) {
          rows++;
          sum += result.getLong(1);
        }
      }
      System.out.println(Rows.json(Map.of("rows", rows, "sum", sum)));
    }
  }
}
