// What Java's own com.sun.net.httpserver can do of the answers: java Server.java HOST PORT.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.concurrent.Executors;

public class Server {
    static final byte[] LARGE = content(1_000_000);

    public static void main(String[] arguments) throws IOException {
        var where = new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1]));
        HttpServer server = HttpServer.create(where, 128);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", Server::answer);
        server.start();
    }

    static byte[] content(int size) {
        var text = new StringBuilder();
        for (int number = 0; text.length() < size; number++) text.append(String.format("%08d\n", number));
        return text.substring(0, size).getBytes();
    }

    static void answer(HttpExchange exchange) throws IOException {
        byte[] body = exchange.getRequestBody().readAllBytes();
        String path = exchange.getRequestURI().getRawPath();
        exchange.getResponseHeaders().set("Content-Type", "text/plain");
        if (path.startsWith("/echo")) send(exchange, 200, echo(exchange, body));
        else if (path.equals("/small")) send(exchange, 200, "small\n".getBytes());
        else if (path.equals("/large")) send(exchange, 200, LARGE);
        else if (path.equals("/chunked")) parts(exchange, 10, 999, 0);
        else if (path.equals("/slow") || path.equals("/events")) parts(exchange, 3, 9, 50);
        else if (path.equals("/empty")) send(exchange, 204, null);
        else if (path.equals("/cached")) cached(exchange);
        else if (path.equals("/moved")) {
            exchange.getResponseHeaders().set("Location", "/small");
            send(exchange, 302, "moved\n".getBytes());
        } else send(exchange, 404, "nothing here\n".getBytes());
    }

    static void cached(HttpExchange exchange) throws IOException {
        exchange.getResponseHeaders().set("ETag", "\"fixed\"");
        boolean same = "\"fixed\"".equals(exchange.getRequestHeaders().getFirst("If-None-Match"));
        send(exchange, same ? 304 : 200, same ? null : "cached\n".getBytes());
    }

    static byte[] echo(HttpExchange exchange, byte[] body) {
        try {
            byte[] sum = MessageDigest.getInstance("SHA-256").digest(body);
            String told = exchange.getRequestMethod() + " " + exchange.getRequestURI() + " " + body.length
                + " " + HexFormat.of().formatHex(sum) + " " + exchange.getRequestHeaders().getFirst("X-Long")
                + " " + exchange.getRequestHeaders().getFirst("X-Many-49") + "\n";
            return told.getBytes();
        } catch (java.security.NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    static void parts(HttpExchange exchange, int count, int size, int pause) throws IOException {
        exchange.sendResponseHeaders(200, 0);
        try (var output = exchange.getResponseBody()) {
            for (int at = 0; at < count; at++) {
                if (pause > 0) Thread.sleep(pause);
                output.write(LARGE, at * size, size);
                output.flush();
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    static void send(HttpExchange exchange, int status, byte[] body) throws IOException {
        boolean none = body == null || exchange.getRequestMethod().equals("HEAD");
        if (none && body != null) exchange.getResponseHeaders().set("Content-Length", "" + body.length);
        exchange.sendResponseHeaders(status, none ? -1 : body.length);
        if (!none) exchange.getResponseBody().write(body);
        exchange.close();
    }
}
