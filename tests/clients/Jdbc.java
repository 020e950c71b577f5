import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** What the Arrow Flight SQL JDBC driver sees of a server with the demo's tables. Argument: a JDBC URL; answer: JSON. */
public class Jdbc {
  private static final String TYPES =
      """
      SELECT true AS a_boolean, CAST(1 AS TINYINT) AS a_tinyint, CAST(2 AS SMALLINT) AS a_smallint,
             CAST(3 AS INTEGER) AS an_integer, CAST(9007199254740993 AS BIGINT) AS a_bigint,
             CAST(1.5 AS REAL) AS a_real, CAST(2.25 AS DOUBLE) AS a_double,
             CAST('12345678901234567890.12' AS DECIMAL(22, 2)) AS a_decimal, 'text' AS a_text,
             DATE '2024-02-29' AS a_date, TIMESTAMP '2024-02-29 12:34:56.789' AS a_timestamp,
             CAST(NULL AS INTEGER) AS a_null
      """;

  public static void main(String[] args) throws Exception {
    Map<String, Object> answer = new TreeMap<>();
    try (Connection connection = DriverManager.getConnection(args[0])) {
      statements(connection, answer);
      metadata(connection, answer);
    }
    System.out.println(Rows.json(answer));
  }

  private static void statements(Connection connection, Map<String, Object> answer) throws SQLException {
    try (var statement = connection.createStatement()) {
      String sql = "SELECT n_nationkey, n_name FROM lake.tpch.nation WHERE n_regionkey = 3 ORDER BY n_nationkey";
      answer.put("statement", Rows.of(statement.executeQuery(sql)));
      answer.put("types", columns(statement.executeQuery(TYPES)));
      answer.put("values", Rows.of(statement.executeQuery(TYPES)));
      long count = 0;
      try (ResultSet result = statement.executeQuery("SELECT l_orderkey FROM delta.tpch.lineitem")) {
        while (result.next()) {
          count++;
        }
      }
      answer.put("lineitem_rows", count);
      try {
        statement.executeQuery("SELECT * FROM lake.tpch.nations");
      } catch (SQLException error) {
        answer.put("failure", error.getMessage());
      }
    }
    String sql = "SELECT n_name FROM lake.tpch.nation WHERE n_nationkey = ? AND n_name LIKE ?";
    try (var statement = connection.prepareStatement(sql)) {
      List<Object> names = new ArrayList<>();
      for (Object[] parameters : new Object[][] {{0, "A%"}, {8, "I%"}, {8, "A%"}, {24, "UNITED%"}}) {
        statement.setInt(1, (Integer) parameters[0]);
        statement.setString(2, (String) parameters[1]);
        names.add(Rows.of(statement.executeQuery()));
      }
      answer.put("prepared", names);
    }
  }

  private static void metadata(Connection connection, Map<String, Object> answer) throws SQLException {
    var metadata = connection.getMetaData();
    answer.put("product", metadata.getDatabaseProductName());
    answer.put("quote", metadata.getIdentifierQuoteString());
    answer.put("catalogs", Rows.of(metadata.getCatalogs()));
    answer.put("schemas", pick(metadata.getSchemas("lake", "tp%"), "TABLE_CATALOG", "TABLE_SCHEM"));
    answer.put("tables", pick(metadata.getTables("delta", "tpch", "part%", null), "TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE"));
    answer.put("table_types", Rows.of(metadata.getTableTypes()));
    answer.put("columns", pick(metadata.getColumns("lake", "tpch", "nation", "%"), "COLUMN_NAME", "TYPE_NAME", "ORDINAL_POSITION"));
    answer.put("primary_keys", Rows.of(metadata.getPrimaryKeys("lake", "tpch", "nation")));
  }

  private static List<Object> pick(ResultSet result, String... names) throws SQLException {
    try (result) {
      List<Object> rows = new ArrayList<>();
      while (result.next()) {
        List<Object> row = new ArrayList<>();
        for (String name : names) {
          row.add(result.getString(name));
        }
        rows.add(row);
      }
      return rows;
    }
  }

  private static List<Object> columns(ResultSet result) throws SQLException {
    try (result) {
      ResultSetMetaData metadata = result.getMetaData();
      List<Object> columns = new ArrayList<>();
      for (int i = 1; i <= metadata.getColumnCount(); i++) {
        columns.add(List.of(metadata.getColumnLabel(i), metadata.getColumnTypeName(i)));
      }
      return columns;
    }
  }
}
