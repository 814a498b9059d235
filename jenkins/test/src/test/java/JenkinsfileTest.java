import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/** The rules of the Jenkinsfile. Each test runs it from the first line to the last. */
public class JenkinsfileTest {
    private static final String LOGIN = ", with content of registry-login";
    private static final String BUILD = "cargo xtask pipeline --stage build --registry registry.example" + LOGIN;
    private static final String LOCAL = "cargo xtask pipeline --stage local" + LOGIN;
    private static final String DEV = "cargo xtask pipeline --stage dev" + LOGIN + ", content of kubeconfig-dev, content of token-dev";
    private static final String PROD = "cargo xtask pipeline --stage prod" + LOGIN + ", content of kubeconfig-prod, content of token-prod";
    private static final List<String> ALL = List.of(BUILD, LOCAL, DEV, PROD);

    @Rule public final TemporaryFolder folder = new TemporaryFolder();
    private FakeJenkins jenkins;

    @Before
    public void start() throws IOException {
        jenkins = new FakeJenkins(folder.getRoot().toPath());
    }

    @Test
    public void mainRunsEveryStageInOrderAndEachOnItsAgentWithItsCredential() throws IOException {
        assertEquals("", jenkins.build());
        assertEquals(ALL, jenkins.stages());
        String sh = "sh DOCKER_CONFIG=\"$(dirname \"$LOGIN\")\" cargo xtask pipeline --stage ";
        assertEquals(List.of(
            "stage Build > node testbed > timeout 60 MINUTES > withCredentials registry-login > " + sh + "build --registry \"$REGISTRY\"",
            "stage Local > node testbed > timeout 300 MINUTES > withCredentials registry-login > " + sh + "local",
            "stage Local > node testbed > timeout 15 MINUTES > sh cargo xtask cluster down",
            "stage Dev/Test > node delivery > timeout 300 MINUTES > withCredentials registry-login, kubeconfig-dev, token-dev > " + sh + "dev",
            "stage Prod > node delivery > timeout 300 MINUTES > withCredentials registry-login, kubeconfig-prod, token-prod > " + sh + "prod"
        ), jenkins.steps("sh"));
    }

    @Test
    public void theFormIntoWhichJenkinsTransformsItDoesTheSame() throws IOException {
        assertEquals("", jenkins.transforms().build());
        assertEquals(ALL, jenkins.stages());
        FakeJenkins other = new FakeJenkins(folder.newFolder().toPath()).transforms().exits("prod", 4);
        assertEquals("Prod failed, and was rolled back", other.build());
        assertEquals(List.of(), other.leftovers());
    }

    @Test
    public void anotherBranchEndsAfterLocalWhateverTheParameterSays() throws IOException {
        jenkins.branch = "feature";
        assertEquals("", jenkins.build());
        assertEquals(List.of(BUILD, LOCAL), jenkins.stages());
        assertEquals(List.of(), jenkins.questions);
    }

    @Test
    public void theParameterNamesTheLastStage() throws IOException {
        for (int last = 0; last < ALL.size(); last++) {
            FakeJenkins build = new FakeJenkins(folder.newFolder().toPath());
            build.lastStage = List.of("build", "local", "dev", "prod").get(last);
            assertEquals("", build.build());
            assertEquals(ALL.subList(0, last + 1), build.stages());
        }
    }

    @Test
    public void theParameterEndsAnotherBranchSooner() throws IOException {
        jenkins.branch = "feature";
        jenkins.lastStage = "build";
        assertEquals("", jenkins.build());
        assertEquals(List.of(BUILD), jenkins.stages());
    }

    @Test
    public void theFirstBuildHasNoParametersAndRunsEveryStage() throws IOException {
        jenkins.lastStage = null;
        assertEquals("", jenkins.build());
        assertEquals(ALL, jenkins.stages());
    }

    @Test
    public void theJobOffersTheStages() {
        jenkins.build();
        assertTrue(jenkins.properties.toString(), jenkins.properties.toString().contains("name=LAST_STAGE, choices=[prod, dev, local, build]"));
    }

    @Test
    public void buildsOfABranchRunOneAtATimeAndNoneAbortsAnother() {
        jenkins.build();
        assertTrue(jenkins.properties.toString(), jenkins.properties.contains("disableConcurrentBuilds"));
    }

    @Test
    public void aStageThatFailsEndsTheBuildAndKeepsItsReports() throws IOException {
        List<String> stages = List.of("build", "local", "dev", "prod");
        List<String> titles = List.of("Build", "Local", "Dev/Test", "Prod");
        for (int failing = 0; failing < stages.size(); failing++) {
            FakeJenkins build = new FakeJenkins(folder.newFolder().toPath()).exits(stages.get(failing), 1);
            assertEquals(titles.get(failing) + " failed with exit code 1", build.build());
            assertEquals(ALL.subList(0, failing + 1), build.stages());
            String report = "target/pipeline/" + stages.get(failing);
            assertEquals("<html>1</html>\n", build.archive.get(report + "/verify.html"));
            assertTrue(build.results.contains(report + "/verify.xml"));
            assertTrue(build.pages.contains(titles.get(failing) + ": " + report + "/verify.html"));
            assertEquals(List.of(), build.leftovers());
        }
    }

    @Test
    public void aFailedVerificationInDevIsRolledBackAndNobodyIsAskedAboutProd() throws IOException {
        assertEquals("Dev/Test failed, and was rolled back", jenkins.exits("dev", 4).build());
        assertEquals(List.of(BUILD, LOCAL, DEV), jenkins.stages());
        assertEquals(List.of(), jenkins.questions);
    }

    @Test
    public void aFailedVerificationInProdIsRolledBack() throws IOException {
        assertEquals("Prod failed, and was rolled back", jenkins.exits("prod", 4).build());
    }

    @Test
    public void theBuildSaysIfNothingCouldBeRolledBackAndIfTheDeploymentWasRefused() throws IOException {
        assertEquals("Prod failed, with nothing to roll back to", jenkins.exits("prod", 5).build());
        FakeJenkins other = new FakeJenkins(folder.newFolder().toPath());
        assertEquals("Prod failed, and so did the rollback", other.exits("prod", 6).build());
        FakeJenkins third = new FakeJenkins(folder.newFolder().toPath());
        assertEquals("Dev/Test was refused", third.exits("dev", 3).build());
    }

    @Test
    public void somebodyApprovesTheCommitBeforeProdAndNoAgentWaits() throws IOException {
        jenkins.build();
        assertEquals(List.of("stage Approval > timeout 8 HOURS > input"), jenkins.steps("input"));
        List<String> stages = List.of("stage Build", "stage Local", "stage Dev/Test", "stage Approval", "stage Prod");
        assertEquals(stages, jenkins.steps("stage"));
        Map<?, ?> question = jenkins.questions.get(0);
        assertEquals("Release 0123abc to prod? Dev/Test has verified it.", question.get("message").toString());
        assertEquals("release-managers", question.get("submitter"));
        assertEquals("prod: approved by somebody", jenkins.currentBuild.get("description").toString());
    }

    @Test
    public void withoutApprovalNothingIsReleased() throws IOException {
        jenkins.approves = false;
        assertEquals("rejected", jenkins.build());
        assertEquals(List.of(BUILD, LOCAL, DEV), jenkins.stages());
    }

    @Test
    public void everyCommandAndEveryQuestionHasATimeout() {
        jenkins.build();
        List<String> waiting = jenkins.steps("(sh|input)");
        assertEquals(waiting.toString(), 6, waiting.size());
        waiting.forEach(step -> assertTrue(step, step.matches("stage [^>]+ > (node \\w+ > )?timeout \\d+ (MINUTES|HOURS) > .*")));
        // A build that waits for an agent loses none of its time.
        jenkins.steps("node").forEach(step -> assertTrue(step, step.matches("stage [^>]+ > node \\w+")));
    }

    @Test
    public void aStageThatIsInterruptedKeepsWhatItHasAndLeavesNothing() throws IOException {
        assertEquals("Timeout has been exceeded", jenkins.exits("dev", 143).build());
        assertEquals(3, jenkins.steps("archiveArtifacts").size());
        assertEquals(3, jenkins.steps("deleteDir").size());
        assertEquals(List.of(), jenkins.leftovers());
    }

    @Test
    public void theWorkspaceIsEmptyAlsoIfTheReportsCannotBeKept() throws IOException {
        jenkins.archiveFails = true;
        assertEquals("the disk is full", jenkins.build());
        assertEquals(List.of(), jenkins.leftovers());
    }

    @Test
    public void theReportsOfEveryStageAreArchivedAndPublished() throws IOException {
        jenkins.build();
        for (String stage : List.of("build", "local", "dev", "prod")) {
            for (String file : List.of("verify.html", "verify.xml", "verify.json")) {
                assertTrue(jenkins.archive.toString(), jenkins.archive.containsKey("target/pipeline/" + stage + "/" + file));
            }
        }
        assertEquals("build\nlocal\ndev\nprod\n", jenkins.archive.get("target/pipeline/release.json"));
        assertEquals(4, jenkins.results.size());
        assertEquals(4, jenkins.pages.size());
        assertEquals(List.of(), jenkins.leftovers());
    }

    @Test
    public void noSecretIsInAScriptOnTheConsoleOrInTheArchive() throws IOException {
        jenkins.build();
        // The stand-in for cargo prints what it gets.
        assertTrue(jenkins.console.toString(), jenkins.console.toString().contains("kubeconfig: ****, token: ****"));
        String secrets = folder.getRoot().toPath().resolve("secrets").toString();
        for (String text : List.of(jenkins.scripts.toString(), jenkins.archive.toString(), jenkins.currentBuild.toString())) {
            assertFalse(text, text.contains("content of") || text.contains(secrets));
        }
        assertFalse(jenkins.console.toString().contains("content of"));
    }

    @Test
    public void everyCommandIsOneThatPeopleRun() {
        jenkins.build();
        for (String script : jenkins.scripts) {
            String command = "(DOCKER_CONFIG=\"\\$\\(dirname \"\\$LOGIN\"\\)\" )?cargo xtask (pipeline --stage \\w+( --registry \"\\$REGISTRY\")?|cluster down)";
            assertTrue(script, script.matches(command));
        }
    }

    @Test
    public void theClusterOfTheStageLocalStopsAlsoAfterAFailureAndATimeout() throws IOException {
        for (int code : List.of(0, 1, 143)) {
            FakeJenkins build = new FakeJenkins(folder.newFolder().toPath()).exits("local", code);
            build.build();
            assertEquals(List.of("cargo xtask cluster down"), build.calls().stream().filter(call -> !call.contains("pipeline")).toList());
            assertEquals(List.of(), build.leftovers());
        }
    }
}
