import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

/** What DBeaver and Tableau call when they connect and browse, in their order. Argument: a JDBC URL. */
public class JdbcBrowse {
  public static void main(String[] args) throws Exception {
    Map<String, Object> answer = new TreeMap<>();
    Properties properties = new Properties();
    properties.put("useEncryption", "false");
    properties.put("user", "browser");
    properties.put("password", "");
    String url = args[0];
    try (Connection connection = DriverManager.getConnection(url, properties)) {
      answer.put("dbeaver", dbeaver(connection));
    }
    try (Connection connection = DriverManager.getConnection(url, properties)) {
      answer.put("tableau", tableau(connection));
    }
    // Every pool asks this of a connection that it takes out again.
    try (Connection connection = DriverManager.getConnection(url, properties)) {
      answer.put("pooled", connection.isValid(1) && connection.isValid(0));
    }
    System.out.println(Rows.json(answer));
  }

  private static Map<String, Object> dbeaver(Connection connection) throws SQLException {
    Map<String, Object> seen = new TreeMap<>();
    DatabaseMetaData metadata = connection.getMetaData();
    connection.setAutoCommit(true);
    seen.put("server", metadata.getDatabaseProductName() + " by " + metadata.getDriverName());
    seen.put("quote", metadata.getIdentifierQuoteString() + metadata.getSearchStringEscape() + metadata.getCatalogSeparator());
    seen.put("terms", metadata.getCatalogTerm() + " " + metadata.getSchemaTerm() + " " + metadata.getProcedureTerm());
    seen.put("keywords", metadata.getSQLKeywords().contains("QUALIFY"));
    seen.put("functions", metadata.getStringFunctions().contains("LOWER") && metadata.getNumericFunctions().contains("ABS")
        && metadata.getTimeDateFunctions().contains("DATE_TRUNC") && !metadata.getSystemFunctions().isEmpty());
    seen.put("usage", metadata.supportsSchemasInDataManipulation() && metadata.supportsCatalogsInDataManipulation());
    seen.put("transactions", metadata.supportsTransactions() || metadata.supportsBatchUpdates());
    seen.put("table types", Rows.of(metadata.getTableTypes()));
    seen.put("types", Rows.of(metadata.getTypeInfo()));
    Map<String, Object> tree = new TreeMap<>();
    for (String catalog : names(metadata.getCatalogs(), "TABLE_CAT")) {
      Map<String, Object> schemas = new TreeMap<>();
      for (String schema : names(metadata.getSchemas(catalog, null), "TABLE_SCHEM")) {
        Map<String, Object> tables = new TreeMap<>();
        for (String table : names(metadata.getTables(catalog, schema, "%", null), "TABLE_NAME")) {
          tables.put(table, names(metadata.getColumns(catalog, schema, table, "%"), "COLUMN_NAME"));
        }
        schemas.put(schema, tables);
      }
      tree.put(catalog, schemas);
    }
    seen.put("tree", tree);
    List<Object> none = new ArrayList<>();
    none.addAll(Rows.of(metadata.getPrimaryKeys("lake", "tpch", "nation")));
    none.addAll(Rows.of(metadata.getIndexInfo("lake", "tpch", "nation", false, true)));
    none.addAll(Rows.of(metadata.getImportedKeys("lake", "tpch", "nation")));
    none.addAll(Rows.of(metadata.getExportedKeys("lake", "tpch", "nation")));
    none.addAll(Rows.of(metadata.getProcedures("lake", "tpch", "%")));
    none.addAll(Rows.of(metadata.getFunctions("lake", "tpch", "%")));
    none.addAll(Rows.of(metadata.getTables("lake", "tpch", "%", new String[] {"VIEW"})));
    seen.put("none", none);
    // The data editor: first rows, then what the row counter asks.
    try (var statement = connection.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY)) {
      statement.setFetchSize(200);
      statement.setMaxRows(3);
      seen.put("rows", Rows.of(statement.executeQuery("SELECT t.* FROM lake.tpch.nation t ORDER BY n_nationkey")).size());
      statement.setMaxRows(0);
      boolean hasRows = statement.execute("SELECT COUNT(*) FROM (\nSELECT t.* FROM lake.tpch.nation t\n) dbvrcnt");
      seen.put("count", List.of(hasRows, Rows.of(statement.getResultSet()), statement.getMoreResults(), statement.getUpdateCount()));
    }
    // For an empty result of a plain statement, the driver shows every column twice.
    try (var statement = connection.prepareStatement("SELECT * FROM lake.tpch.nation WHERE 1 = 0")) {
      seen.put("nothing", columns(statement.executeQuery()));
    }
    return seen;
  }

  private static Map<String, Object> tableau(Connection connection) throws SQLException {
    Map<String, Object> seen = new TreeMap<>();
    DatabaseMetaData metadata = connection.getMetaData();
    seen.put("table types", Rows.of(metadata.getTableTypes()));
    seen.put("entry level", metadata.supportsANSI92EntryLevelSQL() && !metadata.supportsANSI92FullSQL());
    seen.put("outer joins", metadata.supportsFullOuterJoins() && metadata.supportsLimitedOuterJoins());
    seen.put("isolation", metadata.getDefaultTransactionIsolation());
    seen.put("tables", names(metadata.getTables("lake", "tpch", "%", new String[] {"TABLE", "BASE TABLE", "VIEW"}), "TABLE_NAME").size());
    seen.put("keys", Rows.of(metadata.getPrimaryKeys("lake", "tpch", "nation")).size() + Rows.of(metadata.getImportedKeys("lake", "tpch", "nation")).size());
    List<String> queries =
        List.of(
            "SELECT 1",
            "SELECT * FROM \"lake\".\"tpch\".\"nation\" LIMIT 0",
            "SELECT \"nation\".\"n_nationkey\" AS \"n_nationkey\", \"nation\".\"n_name\" AS \"n_name\" FROM \"lake\".\"tpch\".\"nation\" \"nation\" LIMIT 100",
            "SELECT \"region\".\"r_name\" AS \"r_name\", SUM(1) AS \"cnt:ok\" FROM \"lake\".\"tpch\".\"nation\" \"nation\" INNER JOIN \"lake\".\"tpch\".\"region\" \"region\" ON (\"nation\".\"n_regionkey\" = \"region\".\"r_regionkey\") GROUP BY 1",
            "SELECT CAST(EXTRACT(YEAR FROM \"orders\".\"o_orderdate\") AS BIGINT) AS \"yr:ok\", SUM(\"orders\".\"o_totalprice\") AS \"sum:ok\" FROM \"lake\".\"tpch\".\"orders\" \"orders\" GROUP BY 1 HAVING (COUNT(1) > 0)",
            "SELECT CAST(\"nation\".\"n_nationkey\" AS CHARACTER VARYING) AS \"a\", CAST(\"n_name\" AS VARCHAR(10)) AS \"b\", CAST(1 AS DOUBLE PRECISION) AS \"c\", CAST('2024-02-29' AS DATE) AS \"d\" FROM \"lake\".\"tpch\".\"nation\" \"nation\" WHERE (CASE WHEN (\"n_name\" = 'INDIA') THEN TRUE ELSE FALSE END)",
            "SELECT MIN(DATE_TRUNC('MONTH', CAST(\"o_orderdate\" AS TIMESTAMP))) AS \"tmn\", MAX(\"o_orderdate\") AS \"max\", COUNT(DISTINCT \"o_custkey\") AS \"ctd\" FROM \"lake\".\"tpch\".\"orders\" \"orders\" HAVING (COUNT(1) > 0)",
            "SELECT \"t0\".\"n_name\" AS \"n_name\" FROM (SELECT * FROM \"lake\".\"tpch\".\"nation\") \"t0\" WHERE ((\"t0\".\"n_name\" IN ('INDIA', 'CHINA')) AND (NOT (\"t0\".\"n_regionkey\" IS NULL))) ORDER BY 1 ASC",
            "SELECT TOP_.\"n_name\" FROM (SELECT \"n_name\", ROW_NUMBER() OVER (ORDER BY \"n_name\") AS rn FROM \"lake\".\"tpch\".\"nation\") TOP_ WHERE rn <= 3");
    List<Object> counts = new ArrayList<>();
    for (String sql : queries) {
      try (var prepared = connection.prepareStatement(sql); var result = prepared.executeQuery()) {
        int columns = prepared.getMetaData().getColumnCount();
        int rows = 0;
        while (result.next()) {
          for (int i = 1; i <= columns; i++) {
            result.getObject(i);
          }
          rows++;
        }
        counts.add(List.of(columns, rows));
      } catch (SQLException error) {
        counts.add(sql + ": " + error.getMessage());
      }
    }
    seen.put("queries", counts);
    // Tableau tries temporary tables, and uses them where it may.
    try (var statement = connection.createStatement()) {
      statement.executeUpdate("CREATE LOCAL TEMPORARY TABLE \"#Tableau_1_Connect\" (\"COL\" INTEGER) ON COMMIT PRESERVE ROWS");
      seen.put("temporary table", "created");
    } catch (SQLException error) {
      seen.put("temporary table", "refused");
    }
    return seen;
  }

  private static List<String> names(ResultSet result, String column) throws SQLException {
    try (result) {
      List<String> names = new ArrayList<>();
      while (result.next()) {
        names.add(result.getString(column));
      }
      return names;
    }
  }

  private static List<String> columns(ResultSet result) throws SQLException {
    try (result) {
      List<String> names = new ArrayList<>();
      for (int i = 1; i <= result.getMetaData().getColumnCount(); i++) {
        names.add(result.getMetaData().getColumnLabel(i));
      }
      return result.next() ? null : names;
    }
  }
}
