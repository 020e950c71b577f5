import jakarta.servlet.DispatcherType;
import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Map;
import java.util.UUID;
import org.apache.iceberg.CatalogUtil;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.eclipse.jetty.ee10.servlet.FilterHolder;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;

/**
 * Iceberg's reference REST catalog on 127.0.0.1, behind a door that the reference lacks: a token is issued for the right
 * client credentials only, and nothing answers without it.
 *
 * <p>Arguments: port, client id, client secret, then catalog properties as name=value.
 */
public class RestCatalog {
  public static void main(String[] args) throws Exception {
    Map<String, String> properties = new HashMap<>();
    properties.put("catalog-impl", "org.apache.iceberg.jdbc.JdbcCatalog");
    for (int i = 3; i < args.length; i++) {
      String[] property = args[i].split("=", 2);
      properties.put(property[0], property[1]);
    }
    var adapter = new RESTCatalogAdapter(CatalogUtil.buildIcebergCatalog("rest", properties, null));
    var context = new ServletContextHandler();
    context.addServlet(new ServletHolder(new RESTCatalogServlet(adapter)), "/*");
    context.addFilter(
        new FilterHolder(new Door(args[1], args[2])), "/*", EnumSet.of(DispatcherType.REQUEST));
    var server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])));
    server.setHandler(context);
    server.start();
    System.err.println("ready");
    server.join();
  }

  private static class Door implements Filter {
    private final String id;
    private final String secret;
    private final String token = UUID.randomUUID().toString();

    Door(String id, String secret) {
      this.id = id;
      this.secret = secret;
    }

    @Override
    public void doFilter(ServletRequest request, ServletResponse response, FilterChain chain)
        throws IOException, ServletException {
      var http = (HttpServletRequest) request;
      var answer = (HttpServletResponse) response;
      if (http.getRequestURI().endsWith("/v1/oauth/tokens")) {
        boolean known =
            "client_credentials".equals(http.getParameter("grant_type"))
                && id.equals(http.getParameter("client_id"))
                && secret.equals(http.getParameter("client_secret"));
        if (known) {
          json(answer, 200, "{\"access_token\":\"" + token
              + "\",\"token_type\":\"bearer\",\"expires_in\":3600,"
              + "\"issued_token_type\":\"urn:ietf:params:oauth:token-type:access_token\"}");
        } else {
          json(answer, 401, "{\"error\":\"invalid_client\",\"error_description\":\"unknown client\"}");
        }
      } else if (("Bearer " + token).equals(http.getHeader("Authorization"))) {
        chain.doFilter(request, response);
      } else {
        json(answer, 401, "{\"error\":{\"message\":\"missing or wrong token\","
            + "\"type\":\"NotAuthorizedException\",\"code\":401}}");
      }
    }

    private static void json(HttpServletResponse answer, int status, String body) throws IOException {
      answer.setStatus(status);
      answer.setContentType("application/json");
      answer.getWriter().write(body);
    }
  }
}
