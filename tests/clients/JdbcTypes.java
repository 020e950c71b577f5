import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Calendar;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TimeZone;
import java.util.TreeMap;

/**
 * Values of every SQL type as results and as parameters, with NULLs, in a client far from UTC. Argument: a JDBC URL of a
 * server with the table delta.typed.every, whose row 1 has the values below and row 2 NULLs. Answer: what differs.
 */
public class JdbcTypes {
  private interface Setter {
    void set(PreparedStatement statement) throws SQLException;
  }

  private interface Getter {
    Object get(ResultSet result) throws SQLException;
  }

  private record Case(String type, String column, Object value, Setter setter, Getter getter) {}

  private static final byte[] BYTES = {0, (byte) 255, 16};
  private static final BigDecimal DECIMAL = new BigDecimal("12345678901234567890.12");
  private static final LocalDateTime WALL = LocalDateTime.parse("2024-07-01T02:30:00.789");
  // Without a calendar the driver sends the wall clock's time as if it were UTC.
  private static final TimeZone UTC = TimeZone.getTimeZone("UTC");
  private static final Instant MOMENT = Instant.parse("2024-02-29T23:34:56.789Z");

  private static final List<Case> CASES =
      List.of(
          new Case("BOOLEAN", "a_boolean", true, s -> s.setBoolean(1, true), r -> r.getBoolean(1)),
          new Case("TINYINT", "a_tinyint", (byte) -5, s -> s.setByte(1, (byte) -5), r -> r.getByte(1)),
          new Case("SMALLINT", "a_smallint", (short) -300, s -> s.setShort(1, (short) -300), r -> r.getShort(1)),
          new Case("INTEGER", "an_integer", -70000, s -> s.setInt(1, -70000), r -> r.getInt(1)),
          new Case("BIGINT", "a_bigint", 9007199254740993L, s -> s.setLong(1, 9007199254740993L), r -> r.getLong(1)),
          new Case("REAL", "a_real", 1.5f, s -> s.setFloat(1, 1.5f), r -> r.getFloat(1)),
          new Case("DOUBLE", "a_double", 0.1, s -> s.setDouble(1, 0.1), r -> r.getDouble(1)),
          new Case("DECIMAL(22, 2)", "a_decimal", DECIMAL, s -> s.setBigDecimal(1, DECIMAL), r -> r.getBigDecimal(1)),
          new Case("VARCHAR", "a_text", "h\u00e9llo \"\u6f22\" '", s -> s.setString(1, "h\u00e9llo \"\u6f22\" '"), r -> r.getString(1)),
          new Case("VARBINARY", "a_binary", BYTES, s -> s.setBytes(1, BYTES), r -> r.getBytes(1)),
          new Case("DATE", "a_date", "1969-07-20", s -> s.setDate(1, Date.valueOf("1969-07-20")), r -> text(r.getDate(1))),
          // The driver shifts what it reads by the client's zone: the server's text shows what it bound.
          new Case("TIME", null, "12:34:56", s -> s.setTime(1, Time.valueOf("12:34:56")), r -> r.getString(1)),
          new Case("TIMESTAMP", "a_timestamp", WALL, s -> s.setTimestamp(1, Timestamp.valueOf(WALL)), r -> r.getObject(1, LocalDateTime.class)),
          new Case("TIMESTAMP WITH TIME ZONE", "a_moment", MOMENT, s -> s.setTimestamp(1, Timestamp.from(MOMENT), Calendar.getInstance(UTC)), r -> r.getObject(1, Instant.class)));

  public static void main(String[] args) throws Exception {
    TimeZone.setDefault(TimeZone.getTimeZone("America/St_Johns"));
    Map<String, Object> answer = new TreeMap<>();
    try (Connection connection = DriverManager.getConnection(args[0])) {
      for (Case c : CASES) {
        List<Object> wrong = new ArrayList<>();
        String cast = c.column == null ? "CAST(CAST(? AS " + c.type + ") AS VARCHAR)" : "CAST(? AS " + c.type + ")";
        check(wrong, "cast", () -> one(connection, "SELECT " + cast, c.setter, c.getter), c.value);
        check(wrong, "null", () -> one(connection, "SELECT CAST(? AS " + c.type + ")", s -> s.setNull(1, Types.NULL), JdbcTypes::object), null);
        if (c.column != null) {
          String from = " FROM delta.typed.every WHERE ";
          check(wrong, "read", () -> one(connection, "SELECT " + c.column + from + "id = ?", s -> s.setInt(1, 1), c.getter), c.value);
          check(wrong, "read null", () -> one(connection, "SELECT " + c.column + from + "id = ?", s -> s.setInt(1, 2), JdbcTypes::object), null);
          check(wrong, "compare", () -> one(connection, "SELECT id" + from + c.column + " = ?", c.setter, r -> r.getInt(1)), 1);
        }
        answer.put(c.type, wrong);
      }
      answer.put("others", others(connection));
    }
    System.out.println(Rows.json(answer));
  }

  /** What has no typed setter, or no type that the server can infer. */
  private static List<Object> others(Connection connection) throws Exception {
    List<Object> wrong = new ArrayList<>();
    check(wrong, "text as date", () -> one(connection, "SELECT id FROM delta.typed.every WHERE a_date = CAST(? AS DATE)", s -> s.setDate(1, Date.valueOf("1969-07-20")), r -> r.getInt(1)), 1);
    check(wrong, "text alone", () -> one(connection, "SELECT ?", s -> s.setString(1, "x"), r -> r.getString(1)), "x");
    check(wrong, "list", () -> one(connection, "SELECT id FROM delta.typed.every WHERE a_bigint IN (1, ?)", s -> s.setLong(1, 9007199254740993L), r -> r.getInt(1)), 1);
    check(wrong, "limit", () -> one(connection, "SELECT id FROM delta.typed.every ORDER BY id LIMIT ?", s -> s.setLong(1, 1), r -> r.getInt(1)), 1);
    check(wrong, "wall clock as text", () -> one(connection, "SELECT a_timestamp FROM delta.typed.every WHERE id = ?", s -> s.setInt(1, 1), r -> r.getString(1)), "2024-07-01 02:30:00.789");
    check(wrong, "moment with offset", () -> one(connection, "SELECT a_moment FROM delta.typed.every WHERE id = ?", s -> s.setInt(1, 1), r -> r.getObject(1, OffsetDateTime.class).toInstant()), MOMENT);
    check(wrong, "list of numbers", () -> one(connection, "SELECT make_array(1, NULL, CAST(? AS BIGINT))", s -> s.setLong(1, 3), r -> Arrays.toString((Object[]) r.getArray(1).getArray())), "[1, null, 3]");
    check(wrong, "struct", () -> one(connection, "SELECT named_struct('a', 1, 'b', CAST(? AS VARCHAR))", s -> s.setString(1, "x"), r -> String.valueOf(r.getObject(1))), "{\"a\":1,\"b\":\"x\"}");
    check(wrong, "interval", () -> one(connection, "SELECT INTERVAL '3' DAY WHERE 1 = ?", s -> s.setLong(1, 1), r -> String.valueOf(r.getObject(1))), "P3D PT0S");
    return wrong;
  }

  private interface Answer {
    Object get() throws SQLException;
  }

  private static void check(List<Object> wrong, String what, Answer answer, Object expect) {
    try {
      Object value = answer.get();
      if (!Objects.deepEquals(value, expect)) {
        wrong.add(what + ": " + value + " instead of " + expect);
      }
    } catch (SQLException | RuntimeException error) {
      wrong.add(what + ": " + error);
    }
  }

  private static Object one(Connection connection, String sql, Setter setter, Getter getter) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      setter.set(statement);
      try (ResultSet result = statement.executeQuery()) {
        if (!result.next()) {
          throw new SQLException("no row");
        }
        Object value = getter.get(result);
        return result.wasNull() ? null : value;
      }
    }
  }

  /** The driver's getObject fails on a TIMESTAMP WITH TIME ZONE. */
  private static Object object(ResultSet result) throws SQLException {
    return result.getMetaData().getColumnType(1) == Types.TIMESTAMP_WITH_TIMEZONE ? result.getObject(1, Instant.class) : result.getObject(1);
  }

  private static String text(Object value) {
    return value == null ? null : value.toString();
  }
}
