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
    private static final String BUILD = "cargo xtask pipeline --stage build --registry registry.example, with content of registry-login";
    private static final String LOCAL = "cargo xtask pipeline --stage local --registry registry.example, with content of registry-login";
    private static final String DEV = "cargo xtask pipeline --stage dev --context sample-app-dev, with content of kubeconfig-dev";
    private static final String PROD = "cargo xtask pipeline --stage prod --context sample-app-prod, with content of kubeconfig-prod";
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
        assertEquals(ALL, jenkins.calls());
        String login = "DOCKER_CONFIG=\"$(dirname \"$LOGIN\")\" ";
        assertEquals(List.of(
            "stage Build > timeout 60 MINUTES > node delivery > withCredentials registry-login > sh " + login + "cargo xtask pipeline --stage build --registry \"$REGISTRY\"",
            "stage Local > timeout 60 MINUTES > node testbed > withCredentials registry-login > sh " + login + "cargo xtask pipeline --stage local --registry \"$REGISTRY\"",
            "stage Dev/Test > timeout 90 MINUTES > node delivery > withCredentials kubeconfig-dev > sh cargo xtask pipeline --stage dev --context sample-app-dev",
            "stage Prod > timeout 90 MINUTES > node delivery > withCredentials kubeconfig-prod > sh cargo xtask pipeline --stage prod --context sample-app-prod"
        ), jenkins.steps("sh"));
    }

    @Test
    public void theFormIntoWhichJenkinsTransformsItDoesTheSame() throws IOException {
        assertEquals("", jenkins.transforms().build());
        assertEquals(ALL, jenkins.calls());
        FakeJenkins other = new FakeJenkins(folder.newFolder().toPath()).transforms().exits("prod", 4);
        assertEquals("Prod failed, and was rolled back", other.build());
        assertEquals(List.of(), other.leftovers());
    }

    @Test
    public void anotherBranchEndsAfterLocalWhateverTheParameterSays() throws IOException {
        jenkins.branch = "feature";
        assertEquals("", jenkins.build());
        assertEquals(List.of(BUILD, LOCAL), jenkins.calls());
        assertEquals(List.of(), jenkins.questions);
    }

    @Test
    public void theParameterNamesTheLastStage() throws IOException {
        for (int last = 0; last < ALL.size(); last++) {
            FakeJenkins build = new FakeJenkins(folder.newFolder().toPath());
            build.lastStage = List.of("build", "local", "dev", "prod").get(last);
            assertEquals("", build.build());
            assertEquals(ALL.subList(0, last + 1), build.calls());
        }
    }

    @Test
    public void theParameterEndsAnotherBranchSooner() throws IOException {
        jenkins.branch = "feature";
        jenkins.lastStage = "build";
        assertEquals("", jenkins.build());
        assertEquals(List.of(BUILD), jenkins.calls());
    }

    @Test
    public void theFirstBuildHasNoParametersAndRunsEveryStage() throws IOException {
        jenkins.lastStage = null;
        assertEquals("", jenkins.build());
        assertEquals(ALL, jenkins.calls());
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
            assertEquals(ALL.subList(0, failing + 1), build.calls());
            String report = "target/pipeline/" + stages.get(failing);
            assertEquals("<html>1</html>\n", build.archive.get(report + "/index.html"));
            assertTrue(build.results.contains(report + "/junit.xml"));
            assertTrue(build.pages.contains(titles.get(failing) + ": " + report + "/index.html"));
            assertEquals(List.of(), build.leftovers());
        }
    }

    @Test
    public void aFailedVerificationInDevIsRolledBackAndNobodyIsAskedAboutProd() throws IOException {
        assertEquals("Dev/Test failed, and was rolled back", jenkins.exits("dev", 4).build());
        assertEquals(List.of(BUILD, LOCAL, DEV), jenkins.calls());
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
        assertEquals(List.of(BUILD, LOCAL, DEV), jenkins.calls());
    }

    @Test
    public void everyCommandAndEveryQuestionHasATimeout() {
        jenkins.build();
        List<String> waiting = jenkins.steps("(sh|node|input)");
        assertEquals(waiting.toString(), 9, waiting.size());
        waiting.forEach(step -> assertTrue(step, step.matches("stage [^>]+ > timeout \\d+ (MINUTES|HOURS) > .*")));
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
            for (String file : List.of("index.html", "junit.xml", "report.json")) {
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
        // The stand-in for cargo prints the path of its kubeconfig.
        assertTrue(jenkins.console.toString(), jenkins.console.toString().contains("kubeconfig: ****"));
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
            String command = "(DOCKER_CONFIG=\"\\$\\(dirname \"\\$LOGIN\"\\)\" )?cargo xtask pipeline --stage \\w+( --(registry \"\\$REGISTRY\"|context [\\w-]+))?";
            assertTrue(script, script.matches(command));
        }
    }
}
