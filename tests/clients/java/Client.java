// The official Java SDK's client, unmodified, one line of JSON per step. How to call it and what it prints: ../README.md
// Left out, since this SDK cannot: the newest version of the protocol, and cancelling a request.

import io.modelcontextprotocol.client.McpClient;
import io.modelcontextprotocol.client.McpSyncClient;
import io.modelcontextprotocol.client.transport.HttpClientStreamableHttpTransport;
import io.modelcontextprotocol.client.transport.McpHttpClientTransportAuthorizationException;
import io.modelcontextprotocol.client.transport.ServerParameters;
import io.modelcontextprotocol.client.transport.StdioClientTransport;
import io.modelcontextprotocol.json.McpJsonDefaults;
import io.modelcontextprotocol.json.McpJsonMapper;
import io.modelcontextprotocol.spec.McpClientTransport;
import io.modelcontextprotocol.spec.McpError;
import io.modelcontextprotocol.spec.McpSchema;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

public class Client {
    static final String USAGE = "usage: Client.java STEPS (stdio COMMAND [ARG…] | http URL | config FILE SERVER)";
    static final McpJsonMapper JSON = McpJsonDefaults.getMapper();
    static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    static final BufferedReader LINES =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    static void say(Map<String, Object> line) throws IOException {
        OUT.println(JSON.writeValueAsString(line));
    }

    /** Pairs of a name and a value, which may be null. */
    static Map<String, Object> line(Object... pairs) {
        Map<String, Object> line = new LinkedHashMap<>();
        for (int at = 0; at < pairs.length; at += 2) line.put((String) pairs[at], pairs[at + 1]);
        return line;
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Object value) {
        return value == null ? Map.of() : (Map<String, Object>) value;
    }

    /** What came on the way of a call. The SDK hands it out beside the call's result, so that it may be late. */
    static final List<Object> progress = new ArrayList<>();
    static final List<Object> logs = new ArrayList<>();

    static void heard(List<Object> where, Object what) {
        synchronized (Client.class) {
            where.add(what);
            Client.class.notifyAll();
        }
    }

    /** Returns when so much has come, or when nothing more seems to come. */
    static synchronized void waitFor(int wantedProgress, int wantedLogs) throws InterruptedException {
        long late = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (progress.size() < wantedProgress || logs.size() < wantedLogs) {
            long left = TimeUnit.NANOSECONDS.toMillis(late - System.nanoTime());
            if (left <= 0) return;
            Client.class.wait(left);
        }
    }

    static McpClientTransport http(String url, Map<String, Object> headers) {
        URI whole = URI.create(url);
        String token = System.getenv("PORTREEVE_TOKEN");
        return HttpClientStreamableHttpTransport.builder(url.substring(0, url.length() - whole.getRawPath().length()))
                .endpoint(whole.getRawPath())
                .httpRequestCustomizer((request, method, endpoint, body, context) -> {
                    if (token != null) request.setHeader("Authorization", "Bearer " + token);
                    headers.forEach((name, value) -> request.setHeader(name, value.toString()));
                })
                .build();
    }

    /** Without more variables the SDK passes on only a handful, PORTREEVE_SOCKET not among them. */
    static McpClientTransport stdio(String command, List<String> arguments, Map<String, Object> env) {
        Map<String, String> variables = new LinkedHashMap<>();
        if (!"sdk".equals(System.getenv("PORTREEVE_CLIENT_ENV"))) variables.putAll(System.getenv());
        env.forEach((name, value) -> variables.put(name, value.toString()));
        ServerParameters server = ServerParameters.builder(command).args(arguments).env(variables).build();
        StdioClientTransport transport = new StdioClientTransport(server, JSON);
        transport.setStdErrorHandler(System.err::println);
        return transport;
    }

    @SuppressWarnings("unchecked")
    static McpClientTransport transport(List<String> way) throws IOException {
        if (way.size() > 1 && way.get(0).equals("stdio")) return stdio(way.get(1), way.subList(2, way.size()), Map.of());
        if (way.size() == 2 && way.get(0).equals("http")) return http(way.get(1), Map.of());
        if (way.size() == 3 && way.get(0).equals("config")) {
            Map<String, Object> file = JSON.readValue(Files.readAllBytes(Path.of(way.get(1))), Map.class);
            Map<String, Object> server = object(object(file.get("mcpServers")).get(way.get(2)));
            if (!server.containsKey("command")) return http((String) server.get("url"), object(server.get("headers")));
            List<String> arguments = (List<String>) server.getOrDefault("args", List.of());
            return stdio((String) server.get("command"), arguments, object(server.get("env")));
        }
        throw new IllegalArgumentException(USAGE);
    }

    static Map<String, Object> failure(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof McpError answer && answer.getJsonRpcError() != null) {
                McpSchema.JSONRPCResponse.JSONRPCError told = answer.getJsonRpcError();
                return line("code", told.code(), "message", told.message(), "data", told.data());
            }
            if (cause instanceof McpHttpClientTransportAuthorizationException refused) {
                return line("status", refused.getResponseInfo().statusCode(), "message", refused.getMessage());
            }
        }
        return line("message", McpError.aggregateExceptionMessages(error));
    }

    static Object filled(Map.Entry<String, Object> property) {
        Map<String, Object> schema = object(property.getValue());
        if (schema.get("enum") instanceof List<?> values) return values.get(0);
        return "boolean".equals(schema.get("type")) ? true : "some " + property.getKey();
    }

    /** What a server asks is answered like this, always. */
    static McpSyncClient client(McpClientTransport transport) {
        McpSchema.ClientCapabilities capabilities =
                McpSchema.ClientCapabilities.builder().roots(false).sampling().elicitation(true, false).build();
        return McpClient.sync(transport)
                .clientInfo(new McpSchema.Implementation("portreeve-test-java", "1.0.0"))
                .capabilities(capabilities)
                .requestTimeout(Duration.ofMinutes(2))
                .initializationTimeout(Duration.ofMinutes(2))
                .roots(new McpSchema.Root("file:///work", "work"))
                .sampling(request -> McpSchema.CreateMessageResult
                        .builder(McpSchema.Role.ASSISTANT, "Paris", "test").build())
                .elicitation(request -> {
                    Map<String, Object> content = new LinkedHashMap<>();
                    object(request.requestedSchema().get("properties")).entrySet()
                            .forEach(property -> content.put(property.getKey(), filled(property)));
                    return new McpSchema.ElicitResult(McpSchema.ElicitResult.Action.ACCEPT, content);
                })
                .loggingConsumer(message -> heard(logs, message.data()))
                .progressConsumer(told -> heard(progress, told.progress().longValue()))
                .build();
    }

    static Map<String, Object> tools(McpSyncClient client) {
        return line("tools", client.listTools().tools().stream().map(McpSchema.Tool::name).toList());
    }

    static Object text(McpSchema.Content content) {
        return content instanceof McpSchema.TextContent block ? block.text() : null;
    }

    static Map<String, Object> call(McpSyncClient client, Map<String, Object> step) throws Exception {
        String name = (String) step.get("name");
        if (step.containsKey("cancel")) throw new UnsupportedOperationException("this SDK cannot cancel");
        synchronized (Client.class) {
            progress.clear();
            logs.clear();
        }
        McpSchema.CallToolRequest.Builder request =
                McpSchema.CallToolRequest.builder(name).arguments(object(step.get("arguments")));
        if (step.containsKey("progress")) request.progressToken("progress of " + name);
        McpSchema.CallToolResult result = client.callTool(request.build());
        waitFor((int) step.getOrDefault("progress", 0), (int) step.getOrDefault("logs", 0));
        Map<String, Object> line = line(
                "call", name,
                "isError", Boolean.TRUE.equals(result.isError()),
                "text", result.content().stream().map(Client::text).filter(one -> one != null).findFirst().orElse(null),
                "structured", result.structuredContent(),
                "meta", result.meta());
        synchronized (Client.class) {
            if (!progress.isEmpty()) line.put("progress", List.copyOf(progress));
            if (!logs.isEmpty()) line.put("logs", List.copyOf(logs));
        }
        return line;
    }

    static Map<String, Object> run(McpSyncClient client, Map<String, Object> step) throws Exception {
        if (step.containsKey("pause")) {
            say(line("pause", step.get("pause")));
            LINES.readLine();
            return null;
        }
        if (step.containsKey("list")) return tools(client);
        if (step.containsKey("resources")) {
            return line(
                    "resources", client.listResources().resources().stream().map(McpSchema.Resource::uri).toList(),
                    "templates", client.listResourceTemplates().resourceTemplates().stream()
                            .map(McpSchema.ResourceTemplate::uriTemplate).toList());
        }
        if (step.get("read") instanceof String uri) {
            McpSchema.ResourceContents first =
                    client.readResource(new McpSchema.ReadResourceRequest(uri)).contents().get(0);
            Object text = first instanceof McpSchema.TextResourceContents contents ? contents.text() : null;
            Object blob = first instanceof McpSchema.BlobResourceContents contents ? contents.blob() : null;
            return line("read", uri, "text", text, "blob", blob);
        }
        if (step.containsKey("prompts")) {
            return line("prompts", client.listPrompts().prompts().stream().map(McpSchema.Prompt::name).toList());
        }
        if (step.get("prompt") instanceof String name) {
            McpSchema.GetPromptResult result =
                    client.getPrompt(new McpSchema.GetPromptRequest(name, object(step.get("arguments"))));
            return line("prompt", name, "text", text(result.messages().get(0).content()));
        }
        if (step.get("complete") instanceof String value) {
            McpSchema.CompleteResult result = client.completeCompletion(new McpSchema.CompleteRequest(
                    new McpSchema.PromptReference((String) step.get("of")),
                    new McpSchema.CompleteRequest.CompleteArgument((String) step.get("argument"), value)));
            return line("complete", value, "values", result.completion().values());
        }
        if (step.get("level") instanceof String level) {
            client.setLoggingLevel(McpSchema.LoggingLevel.valueOf(level.toUpperCase()));
            return line("level", level);
        }
        return call(client, step);
    }

    /** What a failed step is told as. */
    static Map<String, Object> about(Map<String, Object> step) {
        if (step.containsKey("name")) return line("call", step.get("name"));
        if (step.containsKey("list")) return line("tools", null);
        for (String kind : List.of("resources", "read", "prompts", "prompt", "complete")) {
            if (step.containsKey(kind)) return line(kind, step.get(kind));
        }
        return line("level", step.get("level"));
    }

    @SuppressWarnings("unchecked")
    public static void main(String[] arguments) throws Exception {
        String stage = "connect";
        try {
            if (arguments.length < 2) throw new IllegalArgumentException(USAGE);
            List<Map<String, Object>> steps = JSON.readValue(arguments[0], List.class);
            McpSyncClient client = client(transport(List.of(arguments).subList(1, arguments.length)));
            McpSchema.InitializeResult agreed = client.initialize();
            say(line("connected", line("protocol", agreed.protocolVersion(), "server", agreed.serverInfo())));
            stage = "list";
            say(tools(client));
            stage = "calls";
            for (Map<String, Object> step : steps) {
                Map<String, Object> line;
                try {
                    line = run(client, step);
                } catch (Exception error) {
                    line = about(step);
                    line.put("error", failure(error));
                }
                if (line != null) say(line);
            }
            stage = "ping";
            client.ping();
            say(line("ping", true));
            stage = "close";
            if (!client.closeGracefully()) throw new IllegalStateException("it does not close");
            say(line("closed", true));
            System.exit(0);
        } catch (Exception error) {
            say(line("failed", stage, "error", failure(error)));
            System.exit(1);
        }
    }
}
