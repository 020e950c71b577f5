import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Calls every method of DatabaseMetaData, of the connection and of a result's metadata. Argument: a JDBC URL. */
public class JdbcMetadata {
  public static void main(String[] args) throws Exception {
    Map<String, Object> answer = new TreeMap<>();
    try (Connection connection = DriverManager.getConnection(args[0])) {
      DatabaseMetaData metadata = connection.getMetaData();
      answer.put("named", sweep(metadata, "lake", "tpch", "nation"));
      answer.put("all", sweep(metadata, null, "%", "%"));
      answer.put("none", sweep(metadata, "nowhere", "nothing", "nobody"));
      answer.put("connection", connection(connection));
      try (var listed = metadata.getColumns("delta", "typed", "every", null)) {
        answer.put("columns", listed(listed));
      }
      try (var statement = connection.createStatement();
          var result = statement.executeQuery("SELECT * FROM delta.typed.every")) {
        answer.put("result", described(result.getMetaData()));
      }
    }
    System.out.println(Rows.json(answer));
  }

  /** What every method says, and how those fail that do. */
  private static Map<String, Object> sweep(DatabaseMetaData metadata, String... names) throws IllegalAccessException {
    Map<String, Object> says = new TreeMap<>();
    Map<String, Object> fails = new TreeMap<>();
    Method[] methods = DatabaseMetaData.class.getDeclaredMethods();
    Arrays.sort(methods, Comparator.comparing(Method::toString));
    for (Method method : methods) {
      String call = method.getName() + "/" + method.getParameterCount();
      try {
        Object value = method.invoke(metadata, arguments(method, names));
        says.put(call, value instanceof ResultSet rows ? Rows.of(rows) : value instanceof Connection ? "connection" : value);
      } catch (InvocationTargetException error) {
        fails.put(call, String.valueOf(error.getCause()));
      } catch (SQLException error) {
        fails.put(call, String.valueOf(error));
      }
    }
    return Map.of("says", says, "fails", fails);
  }

  /** Catalog, schema, table and column, again and again where a method takes two tables. */
  private static Object[] arguments(Method method, String[] names) {
    Class<?>[] types = method.getParameterTypes();
    boolean ofResults = method.getName().matches(".*(ResultSetType|ResultSetConcurrency|Detected|Visible)");
    List<Object> arguments = new ArrayList<>();
    int texts = 0;
    for (Class<?> type : types) {
      if (type == String.class) {
        arguments.add(texts == 3 && types.length <= 5 ? "%" : names[texts % 3]);
        texts++;
      } else if (type == int.class && ofResults) {
        arguments.add(arguments.isEmpty() ? ResultSet.TYPE_FORWARD_ONLY : ResultSet.CONCUR_READ_ONLY);
      } else if (type == int.class) {
        arguments.add(method.getName().equals("supportsConvert") ? Types.INTEGER : 1);
      } else {
        arguments.add(type == boolean.class ? Boolean.TRUE : null);
      }
    }
    return arguments.toArray();
  }

  private static Map<String, Object> connection(Connection connection) throws SQLException {
    Map<String, Object> says = new TreeMap<>();
    says.put("autocommit", connection.getAutoCommit());
    says.put("valid", connection.isValid(5));
    says.put("closed", connection.isClosed());
    says.put("isolation", connection.getTransactionIsolation());
    return says;
  }

  /** What getColumns says of each column. */
  private static List<Object> listed(ResultSet result) throws SQLException {
    List<Object> columns = new ArrayList<>();
    while (result.next()) {
      List<Object> column = new ArrayList<>();
      for (String name : List.of("COLUMN_NAME", "TYPE_NAME", "DATA_TYPE", "COLUMN_SIZE", "DECIMAL_DIGITS", "IS_NULLABLE")) {
        column.add(result.getString(name));
      }
      columns.add(column);
    }
    return columns;
  }

  /** What a result says of each column. */
  private static List<Object> described(ResultSetMetaData metadata) throws SQLException {
    List<Object> columns = new ArrayList<>();
    for (int i = 1; i <= metadata.getColumnCount(); i++) {
      columns.add(
          List.of(
              metadata.getColumnLabel(i),
              metadata.getColumnTypeName(i),
              metadata.getColumnType(i),
              metadata.getPrecision(i),
              metadata.getScale(i),
              metadata.isNullable(i)));
    }
    return columns;
  }
}
