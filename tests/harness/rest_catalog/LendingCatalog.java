import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.iceberg.CatalogUtil;
import org.apache.iceberg.catalog.Catalog;
import org.apache.iceberg.rest.HTTPRequest;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.apache.iceberg.rest.RESTResponse;
import org.apache.iceberg.rest.credentials.ImmutableCredential;
import org.apache.iceberg.rest.responses.ErrorResponse;
import org.apache.iceberg.rest.responses.LoadTableResponse;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.sts.StsClient;
import software.amazon.awssdk.services.sts.model.AssumeRoleRequest;

/**
 * Iceberg's reference REST catalog, which lends credentials for the files of each table that it loads: temporary ones of
 * the S3 server's own, for the folder of that table. They last for a given time: the S3 server is reached through a door
 * that lets nobody else in, and nobody for longer.
 *
 * <p>Arguments: port of the catalog, port of the door, seconds, S3 endpoint, its key and secret, then catalog properties
 * as name=value. Prints "lent LOCATION", "secret TEXT", "refused WHY" and "passed METHOD PATH".
 */
public class LendingCatalog {
  private static final Map<String, Long> ENDS = new ConcurrentHashMap<>();

  public static void main(String[] args) throws Exception {
    long milliseconds = (long) (1000 * Double.parseDouble(args[2]));
    Map<String, String> properties = new HashMap<>();
    properties.put("catalog-impl", "org.apache.iceberg.jdbc.JdbcCatalog");
    for (int i = 6; i < args.length; i++) {
      String[] property = args[i].split("=", 2);
      properties.put(property[0], property[1]);
    }
    door(Integer.parseInt(args[1]), args[3]);
    var sts =
        StsClient.builder()
            .endpointOverride(URI.create(args[3]))
            .region(Region.US_EAST_1)
            .credentialsProvider(
                StaticCredentialsProvider.create(AwsBasicCredentials.create(args[4], args[5])))
            .build();
    var catalog = CatalogUtil.buildIcebergCatalog("rest", properties, null);
    var adapter = new Lender(catalog, sts, milliseconds, "http://127.0.0.1:" + args[1]);
    var context = new ServletContextHandler();
    context.addServlet(new ServletHolder(new RESTCatalogServlet(adapter)), "/*");
    var server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])));
    server.setHandler(context);
    server.start();
    System.err.println("ready");
    server.join();
  }

  private static class Lender extends RESTCatalogAdapter {
    private final StsClient sts;
    private final long milliseconds;
    private final String door;

    Lender(Catalog catalog, StsClient sts, long milliseconds, String door) {
      super(catalog);
      this.sts = sts;
      this.milliseconds = milliseconds;
      this.door = door;
    }

    @Override
    @SuppressWarnings("unchecked")
    protected <T extends RESTResponse> T execute(
        HTTPRequest request,
        Class<T> type,
        Consumer<ErrorResponse> onError,
        Consumer<Map<String, String>> headers) {
      T answer = super.execute(request, type, onError, headers);
      // Commits are answered with the table, too, and lend nothing.
      boolean commits = request.method() == HTTPRequest.HTTPMethod.POST && !request.path().endsWith("/tables");
      if (!(answer instanceof LoadTableResponse) || commits) {
        return answer;
      }
      var loaded = (LoadTableResponse) answer;
      var credential = lend(loaded.tableMetadata().location());
      System.err.println("lent " + loaded.tableMetadata().location());
      // As the protocol's list, since the settings are for clients that do not know it.
      return (T)
          LoadTableResponse.builder()
              .withTableMetadata(loaded.tableMetadata())
              .addConfig("s3.endpoint", door)
              .addConfig("s3.path-style-access", "true")
              .addConfig("client.region", "us-east-1")
              .addAllCredentials(List.of(credential))
              .build();
    }

    private ImmutableCredential lend(String location) {
      String path = location.substring("s3://".length());
      String bucket = path.substring(0, path.indexOf('/'));
      String key = path.substring(path.indexOf('/') + 1);
      String policy =
          "{\"Version\":\"2012-10-17\",\"Statement\":["
              + "{\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::" + path + "/*\"},"
              + "{\"Effect\":\"Allow\",\"Action\":\"s3:ListBucket\",\"Resource\":\"arn:aws:s3:::" + bucket + "\","
              + "\"Condition\":{\"StringLike\":{\"s3:prefix\":\"" + key + "*\"}}}]}";
      var lent =
          sts.assumeRole(
                  AssumeRoleRequest.builder()
                      .roleArn("arn:aws:iam::000000000000:role/table")
                      .roleSessionName("table")
                      .durationSeconds(900)
                      .policy(policy)
                      .build())
              .credentials();
      long end = System.currentTimeMillis() + milliseconds;
      ENDS.put(lent.accessKeyId(), end);
      System.err.println("secret " + lent.secretAccessKey());
      System.err.println("secret " + lent.sessionToken());
      return ImmutableCredential.builder()
          .prefix(location)
          .putConfig("s3.access-key-id", lent.accessKeyId())
          .putConfig("s3.secret-access-key", lent.secretAccessKey())
          .putConfig("s3.session-token", lent.sessionToken())
          .putConfig("s3.session-token-expires-at-ms", Long.toString(end))
          .build();
    }
  }

  /** In front of the S3 server: lets pass what is signed with a key that was lent and has not ended. */
  private static void door(int port, String s3) throws IOException {
    Pattern key = Pattern.compile("Credential=([^/]+)/");
    var client = HttpClient.newHttpClient();
    var server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
    server.setExecutor(Executors.newFixedThreadPool(16));
    server.createContext(
        "/",
        exchange -> {
          String authorization = exchange.getRequestHeaders().getFirst("Authorization");
          Matcher found = key.matcher(authorization == null ? "" : authorization);
          Long end = found.find() ? ENDS.get(found.group(1)) : null;
          String what = exchange.getRequestMethod() + " " + exchange.getRequestURI().getRawPath();
          if (end == null || end < System.currentTimeMillis()) {
            String why = end == null ? "a key that was not lent" : "a key that has ended";
            System.err.println("refused " + why + " " + what);
            byte[] body = ("<Error><Code>ExpiredToken</Code><Message>" + why + "</Message></Error>").getBytes();
            exchange.getRequestBody().readAllBytes();
            exchange.sendResponseHeaders(403, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
            return;
          }
          try {
            pass(client, s3, exchange);
            System.err.println("passed " + what);
          } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
          } finally {
            exchange.close();
          }
        });
    server.start();
  }

  private static void pass(HttpClient client, String s3, HttpExchange exchange)
      throws IOException, InterruptedException {
    byte[] body = exchange.getRequestBody().readAllBytes();
    var request =
        HttpRequest.newBuilder(URI.create(s3 + exchange.getRequestURI()))
            .method(exchange.getRequestMethod(), HttpRequest.BodyPublishers.ofByteArray(body));
    exchange.getRequestHeaders().forEach(
        (name, values) -> {
          // The signature is over the name of the host that the client knows.
          if (!List.of("connection", "content-length", "upgrade", "expect").contains(name.toLowerCase())) {
            values.forEach(value -> request.header(name, value));
          }
        });
    var answer = client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
    answer.headers().map().forEach(
        (name, values) -> {
          if (!List.of("connection", "content-length", "transfer-encoding", ":status").contains(name)) {
            exchange.getResponseHeaders().put(name, values);
          }
        });
    boolean isHead = exchange.getRequestMethod().equals("HEAD");
    if (isHead) {
      answer.headers().firstValue("content-length").ifPresent(
          length -> exchange.getResponseHeaders().set("content-length", length));
    }
    boolean isEmpty = isHead || answer.body().length == 0;
    exchange.sendResponseHeaders(answer.statusCode(), isEmpty ? -1 : answer.body().length);
    if (!isEmpty) {
      exchange.getResponseBody().write(answer.body());
    }
  }
}
