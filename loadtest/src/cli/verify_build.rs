//! Builds the options of `loadtest verify` from its flags.

use std::{collections::BTreeMap, env, fs, path::PathBuf, time::Duration};

use clap::Parser;
use engine::{BadConfiguration, Network, Protocol, ServerName, Target, Tls, units::short};
use http::Method;
use prover::verify::{
    ApplyOptions, Authorization, CanaryOptions, Check, Client, DeliveryStage, ResponseTimeBounds,
    SpreadOptions, Test, Token, Tolerance, Verification, VerifyConfig, hello, jobs, wire_contract,
};

use super::{
    scale_arguments::ScaleArguments,
    verify_arguments::VerifyArguments,
    verify_check::parse_check,
    verify_probe::{canary_plan, settled_plan},
};
use crate::{
    options::ScaleOptions,
    output::OutputFile,
    verify_options::{VerifyCommand, VerifyOptions},
};

/// The variable with the token.
const TOKEN_VARIABLE: &str = "LOADTEST_TOKEN";

/// The addresses of the pair in `overlays/local`.
const LOCAL_HTTP: &str = "http://127.0.0.1:30080";
const LOCAL_HTTPS: &str = "https://127.0.0.1:30443";

impl VerifyArguments {
    /// Returns the options of the command, with open report files.
    ///
    /// # Errors
    /// [`BadConfiguration`] when the flags do not fit together, or a file cannot be opened.
    pub fn options(&self) -> anyhow::Result<VerifyCommand> {
        let stage = self.stage.map(DeliveryStage::from);
        match stage {
            _ if self.list => Ok(VerifyCommand::List(stage)),
            Some(stage) => {
                let options = options(self, stage)?;
                Ok(if self.dry_run {
                    VerifyCommand::Nothing
                } else {
                    VerifyCommand::Run(Box::new(options))
                })
            }
            None => Err(bad("--stage is required".to_owned())),
        }
    }
}

/// Returns the options of a run.
fn options(arguments: &VerifyArguments, stage: DeliveryStage) -> anyhow::Result<VerifyOptions> {
    let selected = selected(arguments, stage)?;
    let deadlines = deadlines(arguments, stage);
    let (http, https) = urls(arguments, stage)?;
    let checks = checks(arguments, &https)?;
    let load_url = arguments.load_url.clone();
    let load_url = load_url.unwrap_or_else(|| format!("{}/hello", https.trim_end_matches('/')));
    let token = token(arguments)?;
    let needs_token = selected.contains(&Test::JobsHttps)
        || (selected.contains(&Test::Urls)
            && checks
                .iter()
                .any(|check| check.authorization == Authorization::Token))
        || selected.contains(&Test::CanaryUrls)
        || selected.contains(&Test::CanaryLoad);
    if needs_token && token.is_none() {
        return Err(bad(format!(
            "the token for /jobs is missing: set {TOKEN_VARIABLE}, or pass --token-file"
        )));
    }
    let (network, certificates) = network(arguments, stage, &selected)?;
    let tolerance = Tolerance {
        share: arguments.tolerance.0,
        ..Tolerance::of_window(arguments.window)
    };
    let response_time = ResponseTimeBounds {
        objective_ms: arguments.objective.as_secs_f64() * 1000.0,
        max_difference_ms: arguments.max_difference.as_secs_f64() * 1000.0,
        covered_seconds: arguments.metric_covers.as_secs_f64(),
    };
    check_times(arguments, &selected, &deadlines, &tolerance, &response_time)?;
    let cluster = arguments.cluster.options();
    let overlay = arguments.overlay.clone();
    let overlay = overlay.unwrap_or_else(|| PathBuf::from(format!("kubernetes/overlays/{}", stage.name())));
    let settles = selected.contains(&Test::Settled);
    let probe = if selected.contains(&Test::CanaryLoad) {
        Some(canary_plan(
            arguments,
            &load_url,
            &network,
            token.as_ref(),
            deadlines[&Test::CanaryLoad],
        ))
    } else {
        settles.then(|| settled_plan(arguments, &load_url, &network, deadlines[&Test::Settled]))
    };
    let proves = selected.iter().any(|test| test.needs_proof());
    let scale = proves.then(|| scale_options(arguments, &load_url));
    Ok(VerifyOptions {
        stage,
        config: VerifyConfig {
            context: cluster.context.clone(),
            region_contexts: arguments.region_context.clone(),
            namespace: cluster.namespace.clone(),
            canaries: arguments
                .canary
                .iter()
                .map(|canary| format!("{}={}", canary.deployment, canary.pod))
                .collect(),
            overlay: overlay.display().to_string(),
            http: http.clone(),
            https: https.clone(),
            certificates,
        },
        apply: ApplyOptions {
            kubectl: arguments.kubectl.clone(),
            overlay,
            context: cluster.context.clone(),
        },
        // A load balancer may answer every request over HTTP with a redirect. The pair itself does not.
        hello: hello(&http, stage != DeliveryStage::Local).map_err(bad)?,
        jobs: jobs(&https, Method::PUT).map_err(bad)?,
        urls: checks,
        scale: scale.transpose()?,
        canary: CanaryOptions {
            canaries: arguments.canary.clone(),
            namespace: cluster.namespace.clone(),
            kubectl: arguments.kubectl.clone(),
            context: cluster.context.clone(),
            series: cluster.series.clone(),
            objective_ms: response_time.objective_ms,
            window_seconds: tolerance.window,
            tolerance: tolerance.share,
        },
        response_time,
        probe: probe.transpose()?,
        tolerance,
        spread: SpreadOptions {
            namespace: cluster.namespace.clone(),
            max_skew: arguments.max_skew.into(),
            min_zones: arguments.min_zones.into(),
            max_region_skew: arguments.max_region_skew.map(usize::from),
        },
        client: Client { network, token },
        cluster,
        selected,
        deadlines,
        json: arguments.json.as_deref().map(OutputFile::open).transpose()?,
        html: arguments.html.as_deref().map(OutputFile::open).transpose()?,
        reports: arguments.reports.open()?,
    })
}

fn bad(message: String) -> anyhow::Error {
    BadConfiguration::new(message).into()
}

/// Returns the tests to run, in the order of the stage.
fn selected(arguments: &VerifyArguments, stage: DeliveryStage) -> anyhow::Result<Vec<Test>> {
    let tests = if arguments.canary.is_empty() {
        stage.tests()
    } else {
        &Test::CANARY
    };
    if let Some(foreign) = arguments.only.iter().find(|test| !tests.contains(test)) {
        if arguments.canary.is_empty() && Test::CANARY.contains(foreign) {
            return Err(bad(format!("{foreign} needs a canary: --canary DEPLOYMENT=POD")));
        }
        let names: Vec<&str> = tests.iter().map(|test| test.name()).collect();
        return Err(bad(format!(
            "the stage {} does not contain the test {foreign}; it contains {}",
            stage.name(),
            names.join(", ")
        )));
    }
    let is_selected = |test: &&Test| arguments.only.is_empty() || arguments.only.contains(test);
    Ok(tests.iter().filter(is_selected).copied().collect())
}

fn deadlines(arguments: &VerifyArguments, stage: DeliveryStage) -> BTreeMap<Test, Duration> {
    let tests = Test::ALL.into_iter().chain(Test::CANARY);
    let defaults = tests.map(|test| (test, test.deadline(stage)));
    let given = arguments
        .deadline
        .iter()
        .map(|given| (given.test, given.deadline));
    defaults.chain(given).collect()
}

/// Returns the URLs of the pair over HTTP and HTTPS, without a path.
fn urls(arguments: &VerifyArguments, stage: DeliveryStage) -> anyhow::Result<(String, String)> {
    let local = stage == DeliveryStage::Local;
    let https = match &arguments.https {
        Some(https) => https.clone(),
        None if local => LOCAL_HTTPS.to_owned(),
        None => {
            return Err(bad(format!(
                "the stage {} needs the URL of the pair: --https https://HOST",
                stage.name()
            )));
        }
    };
    let base = |url: &str, scheme: &str| -> anyhow::Result<Target> {
        let target = Target::new(Method::GET, url).map_err(BadConfiguration::new)?;
        let has_path = target.url.path_and_query().is_some_and(|path| path != "/");
        if target.url.scheme_str() != Some(scheme) || has_path {
            return Err(bad(format!(
                "`{url}` must begin with {scheme}:// and have no path"
            )));
        }
        Ok(target)
    };
    let secure = base(&https, "https")?;
    let http = match &arguments.http {
        Some(http) => http.clone(),
        None if local => LOCAL_HTTP.to_owned(),
        None => format!("http://{}", secure.url.host().unwrap_or_default()),
    };
    base(&http, "http")?;
    Ok((http, https))
}

/// Returns the checks of the test `urls`.
fn checks(arguments: &VerifyArguments, https: &str) -> anyhow::Result<Vec<Check>> {
    if arguments.check.is_empty() {
        return wire_contract(https).map_err(bad);
    }
    let checks = arguments.check.iter().map(|text| parse_check(text));
    checks.collect::<Result<_, _>>().map_err(bad)
}

/// Returns the token of the file or of the variable; `None` without both.
fn token(arguments: &VerifyArguments) -> anyhow::Result<Option<Token>> {
    let (source, text) = if let Some(path) = &arguments.token_file {
        let text = fs::read_to_string(path).map_err(|error| bad(format!("{}: {error}", path.display())))?;
        (path.display().to_string(), text)
    } else {
        match env::var(TOKEN_VARIABLE) {
            Ok(text) => (TOKEN_VARIABLE.to_owned(), text),
            Err(env::VarError::NotPresent) => return Ok(None),
            Err(error) => return Err(bad(format!("{TOKEN_VARIABLE}: {error}"))),
        }
    };
    let token = Token::new(&text).map_err(|error| bad(format!("{source}: {error}")))?;
    Ok(Some(token))
}

/// Returns how connections are opened, and how certificates are verified.
fn network(
    arguments: &VerifyArguments,
    stage: DeliveryStage,
    selected: &[Test],
) -> anyhow::Result<(Network, Verification)> {
    let name = arguments.sni.clone().map(ServerName::try_from).transpose();
    let name = name.map_err(|_| bad("--sni: write a host name or an IP address".to_owned()))?;
    // Only this test of `local` needs no certificate authorities.
    let needs_tls = stage != DeliveryStage::Local || selected.contains(&Test::JobsHttps);
    let (tls, certificates) = match (arguments.insecure, &arguments.cacert) {
        (true, _) => (
            Some(Tls::insecure(None, name, Protocol::Http1)),
            Verification::None,
        ),
        (false, Some(path)) => (
            Some(Tls::verifying(Some(path), None, name, Protocol::Http1)),
            Verification::File(path.display().to_string()),
        ),
        (false, None) => (
            needs_tls.then(|| Tls::verifying(None, None, name, Protocol::Http1)),
            Verification::System,
        ),
    };
    let network = Network {
        resolve: arguments.resolve.clone(),
        dns_ttl: None,
        tls: tls.transpose().map_err(BadConfiguration::new)?,
    };
    Ok((network, certificates))
}

/// The longest deadline of `canary-load`. The pipeline lets a canary live for 15 minutes (`xtask/src/pipeline/canary/pod.rs`), and the tests
/// before this one take some of them.
const LONGEST_CANARY_LOAD: Duration = Duration::from_mins(10);

/// Rejects times that prove nothing.
fn check_times(
    arguments: &VerifyArguments,
    selected: &[Test],
    deadlines: &BTreeMap<Test, Duration>,
    tolerance: &Tolerance,
    response_time: &ResponseTimeBounds,
) -> anyhow::Result<()> {
    if arguments.window < Tolerance::MIN_WINDOW {
        return Err(bad(
            "--window must be at least 20s: fewer values do not show a difference".to_owned(),
        ));
    }
    let deadline = deadlines[&Test::Settled];
    let window = Duration::from_secs(tolerance.window as u64);
    // Two windows, and the time to connect and to read.
    if selected.contains(&Test::Settled) && deadline < 2 * window + Duration::from_secs(5) {
        return Err(bad(format!(
            "the deadline of settled ({}) must exceed two windows of {}: --deadline settled=DURATION",
            humantime::format_duration(deadline),
            humantime::format_duration(window)
        )));
    }
    let deadline = deadlines[&Test::CanaryLoad];
    // The window, and the time to connect and to read.
    if selected.contains(&Test::CanaryLoad) && deadline < window + Duration::from_secs(5) {
        return Err(bad(format!(
            "the deadline of canary-load ({}) must exceed the window of {} by 5 s: --deadline canary-load=DURATION",
            humantime::format_duration(deadline),
            humantime::format_duration(window)
        )));
    }
    if selected.contains(&Test::CanaryLoad) && deadline > LONGEST_CANARY_LOAD {
        return Err(bad(format!(
            "the deadline of canary-load ({}) must be at most {}, because the pipeline lets a canary live for 15 minutes: \
             --deadline canary-load=DURATION",
            humantime::format_duration(deadline),
            humantime::format_duration(LONGEST_CANARY_LOAD)
        )));
    }
    let shortest = response_time.shortest_plateau_seconds();
    if selected.contains(&Test::ResponseTime) && arguments.plateau.as_secs_f64() < shortest {
        return Err(bad(format!(
            "--plateau must be at least {} s, 1.4 times --metric-covers, for the test response-time",
            short(shortest)
        )));
    }
    Ok(())
}

/// The flags of `loadtest scale`.
#[derive(Parser)]
#[command(name = "scale")]
struct ScaleCommand {
    #[command(flatten)]
    arguments: ScaleArguments,
}

/// Returns the options of the proof: those of `loadtest scale` with the same flags, so that both have the same defaults.
fn scale_options(arguments: &VerifyArguments, url: &str) -> anyhow::Result<ScaleOptions> {
    let mut flags: Vec<String> = vec!["scale".to_owned(), "--nodes".to_owned()];
    let mut add = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
    add("--url", url.to_owned());
    add("--replicas", arguments.replicas.to_string());
    add("--hpa", arguments.hpa.clone());
    add(
        "--plateau",
        humantime::format_duration(arguments.plateau).to_string(),
    );
    let cluster = arguments.cluster.options();
    add("--namespace", cluster.namespace);
    add("--series", cluster.series);
    let prometheus = cluster.prometheus;
    add(
        "--prometheus",
        format!("{}/{}:{}", prometheus.namespace, prometheus.name, prometheus.port),
    );
    let path = |path: &PathBuf| path.display().to_string();
    let optional = [
        ("--context", cluster.context),
        ("--zones", arguments.zones.map(|zones| zones.to_string())),
        ("--cacert", arguments.cacert.as_ref().map(path)),
        ("--sni", arguments.sni.clone()),
        ("--json", arguments.scale_json.as_ref().map(path)),
        ("--html", arguments.scale_html.as_ref().map(path)),
    ];
    for (flag, value) in optional {
        if let Some(value) = value {
            add(flag, value);
        }
    }
    for resolve in &arguments.resolve {
        add("--resolve", resolve.to_string());
    }
    if arguments.insecure {
        flags.push("--insecure".to_owned());
    }
    let parsed = ScaleCommand::try_parse_from(flags);
    parsed.map_err(BadConfiguration::new)?.arguments.options()
}
