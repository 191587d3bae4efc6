// Java's HttpClient doing a plan of tab-separated lines: java Client.java PLAN.tsv.
// server, base, name, method, target, body, flags, times, headers ("name: value" joined by "|").
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;

public class Client {
    static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)
        .followRedirects(HttpClient.Redirect.NEVER).build();

    public static void main(String[] arguments) throws Exception {
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] task = line.split("\t", -1);
            List<String> answers = new ArrayList<>();
            String error = "null";
            try {
                for (int time = 0; time < Integer.parseInt(task[7]); time++) {
                    answers.add(task[6].contains("websocket") ? talk(task) : ask(task));
                }
            } catch (Exception problem) {
                Throwable cause = problem.getCause() == null ? problem : problem.getCause();
                error = quote(cause.getClass().getSimpleName());
            }
            System.out.println("{\"server\": " + quote(task[0]) + ", \"exchange\": " + quote(task[2])
                + ", \"answers\": [" + String.join(", ", answers) + "], \"error\": " + error + "}");
        }
        System.exit(0);
    }

    static byte[] content(int size) {
        var text = new StringBuilder();
        for (int number = 0; text.length() < size; number++) text.append(String.format("%08d\n", number));
        return text.substring(0, size).getBytes();
    }

    static String ask(String[] task) throws Exception {
        byte[] body = content(Integer.parseInt(task[5]));
        String flags = task[6];
        var publisher = flags.contains("chunked") ? BodyPublishers.ofInputStream(() -> input(body, flags))
            : body.length > 0 ? BodyPublishers.ofByteArray(body) : BodyPublishers.noBody();
        var request = HttpRequest.newBuilder(URI.create(task[1] + task[4])).timeout(Duration.ofSeconds(10))
            .method(task[3], publisher).expectContinue(flags.contains("expect"));
        for (String header : task[8].isEmpty() ? new String[0] : task[8].split("\\|")) {
            String[] pair = header.split(": ", 2);
            request.header(pair[0], pair[1]);
        }
        if (flags.contains("early")) {
            HttpResponse<InputStream> found = CLIENT.send(request.build(), BodyHandlers.ofInputStream());
            try (InputStream input = found.body()) {
                input.readNBytes(1000);
            }
            return answer(found, null);
        }
        HttpResponse<byte[]> found = CLIENT.send(request.build(), BodyHandlers.ofByteArray());
        return answer(found, found.body());
    }

    static InputStream input(byte[] body, String flags) {
        return new ByteArrayInputStream(body) {
            int left = flags.contains("slow") ? 3 : 0;

            @Override
            public int read(byte[] into, int offset, int length) {
                if (left-- <= 0) return super.read(into, offset, length);
                try {
                    Thread.sleep(50);
                } catch (InterruptedException error) {
                    Thread.currentThread().interrupt();
                }
                return super.read(into, offset, Math.min(length, body.length / 3));
            }

            @Override
            public int read(byte[] into) {
                return read(into, 0, into.length);
            }
        };
    }

    static String talk(String[] task) throws Exception {
        var got = new StringBuilder();
        var done = new CompletableFuture<String>();
        var listener = new WebSocket.Listener() {
            int left = 3;

            @Override
            public CompletionStage<?> onText(WebSocket socket, CharSequence text, boolean last) {
                got.append(text);
                if (last && --left == 0) done.complete(got.toString());
                socket.request(1);
                return null;
            }

            @Override
            public void onError(WebSocket socket, Throwable error) {
                done.completeExceptionally(error);
            }
        };
        WebSocket socket = CLIENT.newWebSocketBuilder()
            .buildAsync(URI.create("ws" + task[1].substring(4) + task[4]), listener).get(10, TimeUnit.SECONDS);
        for (String word : new String[] {"hello", "", "w".repeat(100)}) socket.sendText(word, true).get();
        String text = done.get(10, TimeUnit.SECONDS);
        socket.abort();
        return "{\"status\": 101, \"headers\": [], " + sum(text.getBytes()) + "}";
    }

    static String answer(HttpResponse<?> found, byte[] body) throws Exception {
        List<String> fields = new ArrayList<>();
        found.headers().map().forEach((name, values) -> values.forEach(
            value -> fields.add("[" + quote(name.toLowerCase()) + ", " + quote(value) + "]")));
        return "{\"status\": " + found.statusCode() + ", \"headers\": [" + String.join(", ", fields) + "]"
            + (body == null ? "" : ", " + sum(body)) + "}";
    }

    static String sum(byte[] body) throws Exception {
        return "\"length\": " + body.length + ", \"sha256\": "
            + quote(HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body)));
    }

    static String quote(String text) {
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }
}
