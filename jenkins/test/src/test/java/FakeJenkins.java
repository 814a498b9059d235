import static com.lesfurets.jenkins.unit.MethodSignature.method;

import com.lesfurets.jenkins.unit.PipelineTestHelper;
import com.lesfurets.jenkins.unit.cps.PipelineTestHelperCPS;
import groovy.lang.Binding;
import groovy.lang.Closure;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.PathMatcher;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Executes the Jenkinsfile as Jenkins would, with stand-ins for the steps: each agent has a folder as workspace, `sh` runs its script
 * there with a stand-in for cargo, stashes and archives are copies of files, and credentials exist only inside `withCredentials`.
 */
final class FakeJenkins {
    /** The branch of the build. */
    String branch = "main";
    /** The parameter LAST_STAGE. Null: the build has no parameters, as the first one of a branch. */
    String lastStage = "prod";
    /** Whether somebody approves. */
    boolean approves = true;
    /** Whether the step that archives files fails. */
    boolean archiveFails = false;

    /** The steps, each with the blocks around it. */
    final List<String> trace = new ArrayList<>();
    /** What the console shows. */
    final StringBuilder console = new StringBuilder();
    /** The scripts of `sh`, in order. */
    final List<String> scripts = new ArrayList<>();
    /** The archived files and their content, and the published pages. */
    final Map<String, String> archive = new TreeMap<>();
    /** The files with results of tests. */
    final List<String> results = new ArrayList<>();
    /** The pages, each as name and file. */
    final List<String> pages = new ArrayList<>();
    /** The arguments of `input`. */
    final List<Map<?, ?>> questions = new ArrayList<>();
    /** The properties of the job. */
    final List<Object> properties = new ArrayList<>();
    /** What the build shows besides its result. */
    final HashMap<String, Object> currentBuild = new HashMap<>();

    private final Path folder;
    private PipelineTestHelper helper = new PipelineTestHelper();
    private final Deque<String> blocks = new ArrayDeque<>();
    private final Map<String, Map<Path, byte[]>> stashes = new HashMap<>();
    private final Map<String, String> environment = new LinkedHashMap<>();
    private final Map<String, String> secrets = new HashMap<>();
    private Path workspace;

    FakeJenkins(Path folder) throws IOException {
        this.folder = folder;
        Files.createDirectories(folder.resolve("exit-codes"));
        Path cargo = Files.createDirectories(folder.resolve("bin")).resolve("cargo");
        try (var stream = FakeJenkins.class.getResourceAsStream("/cargo")) {
            Files.write(cargo, stream.readAllBytes());
        }
        cargo.toFile().setExecutable(true);
        environment.put("PATH", cargo.getParent() + ":/usr/bin:/bin");
        environment.put("STAND_IN", folder.toString());
        environment.put("REGISTRY", "registry.example");
    }

    /** Lets `cargo xtask pipeline` exit with this code in a stage. A negative one: Jenkins interrupts it. */
    FakeJenkins exits(String stage, int code) throws IOException {
        Files.writeString(folder.resolve("exit-codes").resolve(stage), Integer.toString(code));
        return this;
    }

    /**
     * Transforms the Jenkinsfile as Jenkins does (CPS), so that the state of the build can be saved between two steps, and saves it
     * there. Takes three times as long.
     */
    FakeJenkins transforms() {
        helper = new PipelineTestHelperCPS();
        return this;
    }

    /** Runs the build. Returns why it failed, or an empty text. */
    String build() {
        helper.setScriptRoots(new String[] {repository()});
        helper.setScriptExtension("");
        helper.setBaseScriptRoot(repository());
        helper.setBaseClassloader(FakeJenkins.class.getClassLoader());
        helper.init();
        registerSteps();
        Binding binding = new Binding();
        HashMap<String, String> variables = new HashMap<>(Map.of("BRANCH_NAME", branch, "REGISTRY", environment.get("REGISTRY")));
        binding.setVariable("env", variables);
        binding.setVariable("params", lastStage == null ? new HashMap<>() : new HashMap<>(Map.of("LAST_STAGE", lastStage)));
        binding.setVariable("currentBuild", currentBuild);
        binding.setVariable("scm", "the commit of the build");
        try {
            helper.runScript("Jenkinsfile", binding);
            return "";
        } catch (Failure failure) {
            return failure.getMessage();
        }
    }

    /** The calls of cargo. */
    List<String> calls() throws IOException {
        Path calls = folder.resolve("calls");
        return Files.exists(calls) ? Files.readAllLines(calls) : List.of();
    }

    /** The calls of `cargo xtask pipeline`. */
    List<String> stages() throws IOException {
        return calls().stream().filter(call -> call.contains("pipeline")).collect(Collectors.toList());
    }

    /** The files that are left on the agents, and the secrets that are left on the disk. */
    List<Path> leftovers() throws IOException {
        List<Path> left = files(folder.resolve("agents"));
        left.addAll(files(folder.resolve("secrets")));
        return left;
    }

    /** The steps with this name, each with the blocks around it. */
    List<String> steps(String name) {
        return trace.stream().filter(step -> step.substring(step.lastIndexOf(" > ") + 1).trim().replaceFirst("^> ", "").matches(name + "( .*)?"))
            .collect(Collectors.toList());
    }

    /** The content of a credential. */
    static String secret(String id) {
        return "content of " + id;
    }

    private static String repository() {
        return Path.of("../..").toAbsolutePath().normalize().toString();
    }

    private void registerSteps() {
        for (String described : List.of("logRotator", "choice", "file", "string")) {
            step(described, arguments -> Map.of(described, arguments[0]), Map.class);
        }
        step("disableConcurrentBuilds", arguments -> "disableConcurrentBuilds");
        step("buildDiscarder", arguments -> Map.of("buildDiscarder", arguments[0]), Object.class);
        step("parameters", arguments -> Map.of("parameters", arguments[0]), List.class);
        step("properties", arguments -> properties.addAll((List<?>) arguments[0]), List.class);

        step("stage", arguments -> block("stage " + arguments[0], arguments[1]), String.class, Closure.class);
        step("timeout", arguments -> block("timeout " + option(arguments, "time") + " " + option(arguments, "unit"), arguments[1]), Map.class, Closure.class);
        step("node", arguments -> onNode(arguments[0].toString(), arguments[1]), String.class, Closure.class);
        step("withCredentials", arguments -> withCredentials((List<?>) arguments[0], arguments[1]), List.class, Closure.class);

        step("checkout", arguments -> {
            note("checkout");
            write(workspace.resolve("Cargo.toml"), "".getBytes(StandardCharsets.UTF_8));
            return new HashMap<>(Map.of("GIT_COMMIT", "0123abc"));
        }, Object.class);
        step("sh", this::sh, Map.class);
        step("stash", arguments -> {
            note("stash " + option(arguments, "name"));
            Map<Path, byte[]> files = new HashMap<>();
            matching(option(arguments, "includes")).forEach(file -> files.put(workspace.relativize(file), read(file)));
            fail(files.isEmpty(), "No files included in stash");
            return stashes.put(option(arguments, "name"), files);
        }, Map.class);
        step("unstash", arguments -> {
            note("unstash " + arguments[0]);
            fail(!stashes.containsKey(arguments[0].toString()), "No such saved stash");
            stashes.get(arguments[0].toString()).forEach((path, content) -> write(workspace.resolve(path), content));
            return null;
        }, String.class);
        step("archiveArtifacts", arguments -> {
            note("archiveArtifacts");
            fail(archiveFails, "the disk is full");
            List<Path> found = matching(option(arguments, "artifacts"));
            fail(found.isEmpty() && !option(arguments, "allowEmptyArchive").equals("true"), "No artifacts found");
            found.forEach(file -> archive.put(workspace.relativize(file).toString(), new String(read(file), StandardCharsets.UTF_8)));
            return null;
        }, Map.class);
        step("junit", arguments -> {
            note("junit");
            List<Path> found = matching(option(arguments, "testResults"));
            fail(found.isEmpty() && !option(arguments, "allowEmptyResults").equals("true"), "No test report files were found");
            found.forEach(file -> results.add(workspace.relativize(file).toString()));
            return null;
        }, Map.class);
        step("publishHTML", arguments -> {
            note("publishHTML");
            Map<?, ?> target = (Map<?, ?>) ((Map<?, ?>) arguments[0]).get("target");
            List<Path> found = matching(target.get("reportDir") + "/" + target.get("reportFiles"));
            fail(found.isEmpty() && !Boolean.TRUE.equals(target.get("allowMissing")), "HTML page does not exist");
            found.forEach(file -> pages.add(target.get("reportName") + ": " + workspace.relativize(file)));
            return null;
        }, Map.class);
        step("deleteDir", arguments -> {
            note("deleteDir");
            delete(workspace);
            return null;
        });
        step("error", arguments -> {
            throw new Failure(arguments[0].toString());
        }, String.class);
        step("input", arguments -> {
            note("input");
            questions.add((Map<?, ?>) arguments[0]);
            fail(!approves, "rejected");
            return "somebody";
        }, Map.class);
    }

    /** Registers a step. The library passes one argument as it is, several as an array. */
    private void step(String name, Function<Object[], Object> implementation, Class<?>... types) {
        Function<Object, Object> adapted = given -> implementation.apply(given instanceof Object[] several ? several : new Object[] {given});
        helper.registerAllowedMethod(method(name, types), adapted);
    }

    private static String option(Object[] arguments, String name) {
        return String.valueOf(((Map<?, ?>) arguments[0]).get(name));
    }

    private void note(String step) {
        trace.add(Stream.concat(blocks.stream(), Stream.of(step)).collect(Collectors.joining(" > ")));
    }

    private Object block(String title, Object body) {
        note(title);
        blocks.addLast(title);
        try {
            return helper.callClosure((Closure<?>) body);
        } finally {
            blocks.removeLast();
        }
    }

    private Object onNode(String agent, Object body) {
        fail(workspace != null, "a node inside of a node");
        workspace = folder.resolve("agents").resolve(agent);
        try {
            return block("node " + agent, body);
        } finally {
            workspace = null;
        }
    }

    /** Binds variables to secrets, or to files with them, and removes all afterwards. */
    private Object withCredentials(List<?> bindings, Object body) {
        List<String> ids = new ArrayList<>();
        try {
            for (Object described : bindings) {
                ((Map<?, ?>) described).forEach((kind, value) -> {
                    Map<?, ?> binding = (Map<?, ?>) value;
                    String id = binding.get("credentialsId").toString();
                    ids.add(id);
                    secrets.put(binding.get("variable").toString(), kind.equals("file") ? secretFile(id) : secret(id));
                });
            }
            return block("withCredentials " + String.join(", ", ids), body);
        } finally {
            secrets.clear();
            delete(folder.resolve("secrets"));
        }
    }

    /** A file with the name that jenkins/configuration/jenkins.yaml gives it. */
    private String secretFile(String id) {
        Path file = folder.resolve("secrets").resolve(id).resolve(id.startsWith("kubeconfig") ? "kubeconfig" : "config.json");
        write(file, secret(id).getBytes(StandardCharsets.UTF_8));
        return file.toString();
    }

    /** Runs a script as Jenkins does, which prints each command, and hides the values of the bound variables. */
    private Object sh(Object[] arguments) {
        String script = option(arguments, "script");
        note("sh " + script);
        scripts.add(script);
        try {
            ProcessBuilder builder = new ProcessBuilder("sh", "-xe", "-c", script).directory(workspace.toFile()).redirectErrorStream(true);
            builder.environment().clear();
            builder.environment().putAll(environment);
            builder.environment().putAll(secrets);
            Process process = builder.start();
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            for (String secret : secrets.values()) {
                output = output.replace(secret, "****");
            }
            console.append(output);
            int code = process.waitFor();
            fail(code == INTERRUPTED, "Timeout has been exceeded");
            fail(code != 0 && !option(arguments, "returnStatus").equals("true"), "script returned exit code " + code);
            return code;
        } catch (IOException | InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    /** The exit code by which the stand-in for cargo says that Jenkins interrupts it. */
    private static final int INTERRUPTED = 143;

    /** The files in the workspace that match one of several patterns, separated by commas. */
    private List<Path> matching(String patterns) {
        List<PathMatcher> matchers = Stream.of(patterns.split(",")).map(String::trim)
            .flatMap(pattern -> Stream.of(pattern, pattern.replace("**/", "")))
            .map(pattern -> FileSystems.getDefault().getPathMatcher("glob:" + pattern)).collect(Collectors.toList());
        return files(workspace).stream()
            .filter(file -> matchers.stream().anyMatch(matcher -> matcher.matches(workspace.relativize(file))))
            .collect(Collectors.toList());
    }

    private static List<Path> files(Path folder) {
        if (!Files.exists(folder)) {
            return new ArrayList<>();
        }
        try (Stream<Path> walk = Files.walk(folder)) {
            return walk.filter(Files::isRegularFile).sorted().collect(Collectors.toCollection(ArrayList::new));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static void write(Path file, byte[] content) {
        try {
            Files.createDirectories(file.getParent());
            Files.write(file, content);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static byte[] read(Path file) {
        try {
            return Files.readAllBytes(file);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static void delete(Path folder) {
        try (Stream<Path> walk = Files.walk(folder)) {
            walk.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static void fail(boolean condition, String message) {
        if (condition) {
            throw new Failure(message);
        }
    }

    /** The end of a build. */
    static final class Failure extends RuntimeException {
        Failure(String message) {
            super(message);
        }
    }
}
