//! The rate of a run over time: stages, spikes, traces, random arrivals and the warm-up.

use crate::{command::hello, process::loadtest, schema};

#[test]
fn the_warm_up_has_the_first_rate_of_stages_and_traces() {
    let url = hello();
    let trace = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(trace.path(), "0,0\n1,40\n2,0\n").unwrap();
    let trace = trace.path().to_str().unwrap();
    for (flags, warm_up, measured) in [
        (&["--stage", "1s:60", "--stage", "1s:20"][..], 60, 70),
        (&["-q", "30", "--stage", "1s:60"], 30, 45),
        (&["--trace", trace], 40, 40),
    ] {
        let output = loadtest(
            &[
                &["run", &url, "--json", "--max-lag", "1s", "--warm-up", "1s"],
                flags,
            ]
            .concat(),
        );
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = schema::report(&output.stdout);
        assert_eq!(
            (
                &report["warm_up"]["requests"]["sent"],
                &report["requests"]["sent"]
            ),
            (&warm_up.into(), &measured.into()),
            "{flags:?}"
        );
    }
}

/// Runs a load with these flags and returns the number of requests due in each second.
fn scheduled_per_second(flags: &[&str]) -> Vec<u64> {
    let url = hello();
    let output = loadtest(&[&["run", &url, "--json"], flags].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = schema::report(&output.stdout);
    let intervals = report["intervals"].as_array().unwrap();
    intervals
        .iter()
        .map(|interval| interval["scheduled"].as_u64().unwrap())
        .collect()
}

#[test]
fn stages_spikes_traces_and_poisson_arrivals_follow_the_schedule() {
    // A ramp from 0 to 100 in 1 s, then 100 for 1 s, then a jump to 300 for 1 s.
    let stages = ["--stage", "1s:100", "--stage", "1s:100", "--stage", "0s:300"];
    assert_eq!(
        scheduled_per_second(&[&stages[..], &["--stage", "1s:300"]].concat()),
        [50, 100, 300]
    );
    assert_eq!(
        scheduled_per_second(&["-q", "20", "-z", "3s", "--spike", "1s:1s:200"]),
        [20, 200, 20]
    );
    let trace = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(trace.path(), "seconds,rate\n0,30\n1,0\n2,60\n3,0\n").unwrap();
    assert_eq!(
        scheduled_per_second(&["--trace", trace.path().to_str().unwrap()]),
        [30, 0, 60]
    );
    let poisson = ["-q", "100", "-z", "2s", "--arrivals", "poisson", "--seed"];
    let (first, same_seed, other_seed) = (
        scheduled_per_second(&[&poisson[..], &["5"]].concat()),
        scheduled_per_second(&[&poisson[..], &["5"]].concat()),
        scheduled_per_second(&[&poisson[..], &["6"]].concat()),
    );
    assert_eq!(first, same_seed);
    assert_ne!(first, other_seed);
    // 5 standard deviations of a Poisson distribution with mean 200.
    assert!((130..=270).contains(&first.iter().sum::<u64>()), "{first:?}");
}
