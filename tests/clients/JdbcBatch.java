import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.Statement;
import java.sql.Types;
import java.util.Map;
import java.util.TreeMap;

/** A batch of 10,000 rows, which the driver sends in one call. Argument: a JDBC URL. Answer: what became of it. */
public class JdbcBatch {
  private static final int ROWS = 10_000;

  public static void main(String[] arguments) throws Exception {
    Map<String, Object> answer = new TreeMap<>();
    try (Connection connection = DriverManager.getConnection(arguments[0]);
        Statement statement = connection.createStatement()) {
      for (String catalog : new String[] {"lake", "delta"}) {
        String table = catalog + ".tpch.batch";
        statement.executeUpdate("CREATE TABLE " + table + " (id bigint, name varchar, amount decimal(10, 2), day date)");
        String sql = "INSERT INTO " + table + " VALUES (?, ?, ?, ?)";
        int sent;
        try (PreparedStatement insert = connection.prepareStatement(sql)) {
          for (int i = 0; i < ROWS; i++) {
            insert.setLong(1, i);
            if (i % 4 == 0) {
              insert.setNull(2, Types.VARCHAR);
            } else {
              insert.setString(2, "name " + i);
            }
            insert.setBigDecimal(3, BigDecimal.valueOf(i, 2));
            insert.setDate(4, Date.valueOf("2026-01-01"));
            insert.addBatch();
          }
          sent = insert.executeBatch().length;
        }
        String sums = "SELECT count(*), count(name), sum(id), sum(amount), min(day), max(name) FROM ";
        answer.put(catalog + " sums", Rows.of(statement.executeQuery(sums + table)));
        String commits = "SELECT count(*) FROM " + table + "$history";
        answer.put(catalog + " commits", Rows.of(statement.executeQuery(commits)));
        answer.put(catalog + " sent", sent > 0);
      }
    }
    System.out.println(Rows.json(answer));
  }
}
