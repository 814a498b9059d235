//! Two jobs that scrape the same pods: a fast one for the counter, and a slow one for the rest.

use wiring::{Link, diagnosis::LinkState};

use crate::fixture::{assert_link, assert_only_broken, complete, diagnose, replaced};

/// What a pod exports. The HPA scales on the first counter.
const METRICS: &str = "# TYPE orders_total counter\norders_total{method=\"GET\"} 0\norders_total{method=\"POST\"} 0\n\
                       # TYPE sales_total counter\nsales_total 0\n";

/// The rules of the fast job, of one line each.
const ONLY_ORDERS: &str = "{source_labels: [__name__], regex: orders_total, action: keep}";
/// The rules of the slow job.
const NO_ORDERS: &str = "{source_labels: [__name__], regex: orders_total, action: drop}";

/// Replaces the job of the installation by two jobs with relabelling rules for their samples. The window is 4 s.
fn two_jobs(fast: &str, slow: &str) -> String {
    let all = complete();
    let start = all.find("      - job_name: annotated-pods\n").expect("the job");
    let end = all[start..].find("---").expect("the end of the file") + start;
    let job = |name: &str, settings: &str, rules: &str| {
        replaced(
            &all[start..end],
            "job_name: annotated-pods\n",
            &format!("job_name: {name}\n{settings}        metric_relabel_configs: [{rules}]\n"),
        )
    };
    let jobs = job("fast", "        scrape_interval: 1s\n", fast) + &job("slow", "", slow);
    let all = [&all[..start], &jobs, &all[end..]].concat();
    let all = replaced(&all, "scrape_interval: 20s", "scrape_interval: 15s");
    replaced(&all, "[2m]", "[4s]")
}

fn on_sales(manifests: &str) -> String {
    replaced(manifests, "name: orders_per_second", "name: sales_per_second")
}

#[test]
fn the_job_that_stores_the_series_sets_the_interval() {
    let diagnosis = diagnose(&two_jobs(ONLY_ORDERS, NO_ORDERS), Some(METRICS));
    for report in &diagnosis.links {
        assert_eq!(report.state, LinkState::Ok, "{diagnosis:#?}");
        assert_eq!(report.warnings, [""; 0], "{diagnosis:#?}");
    }
    for says in [
        "job fast scrapes port 8080, /metrics every 1s",
        "job slow scrapes port 8080, /metrics every 15s",
    ] {
        assert_link(&diagnosis, Link::PrometheusScrape, LinkState::Ok, says);
    }
    // Without a page, the names are enough.
    let diagnosis = diagnose(&two_jobs(ONLY_ORDERS, NO_ORDERS), None);
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    assert!(diagnosis.links.iter().all(|link| link.warnings.is_empty()));
}

#[test]
fn a_window_is_compared_with_the_job_that_stores_its_series() {
    let says = "the window 4s over sales_total of job slow holds fewer than three scrapes of 15s, and a rate needs two: use 45s";
    assert_only_broken(
        &diagnose(&on_sales(&two_jobs(ONLY_ORDERS, NO_ORDERS)), Some(METRICS)),
        Link::PodSamples,
        says,
    );
    let too_short = replaced(&two_jobs(ONLY_ORDERS, NO_ORDERS), "[4s]", "[2s]");
    let diagnosis = diagnose(&too_short, Some(METRICS));
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    assert_link(
        &diagnosis,
        Link::PodSamples,
        LinkState::Ok,
        "the window 2s over orders_total of job fast holds fewer than three scrapes of 1s, so one",
    );
}

#[test]
fn a_series_that_every_job_drops_is_named() {
    let says = "no job stores orders_total of the pods: \
                job fast: drop \"orders_total\" of __name__ drops \"orders_total\"; \
                job slow: drop \"orders_total\" of __name__ drops \"orders_total\"";
    for page in [Some(METRICS), None] {
        let diagnosis = diagnose(&two_jobs(NO_ORDERS, NO_ORDERS), page);
        assert_only_broken(&diagnosis, Link::ServiceMetric, says);
    }
    let keep = "{source_labels: [__name__], regex: orders, action: keep}";
    assert_only_broken(
        &diagnose(&two_jobs(keep, NO_ORDERS), Some(METRICS)),
        Link::ServiceMetric,
        "job fast: keep \"orders\" of __name__ drops \"orders_total\"",
    );
    let renamed = "{source_labels: [__name__], regex: orders_total, target_label: __name__, replacement: o}";
    assert_only_broken(
        &diagnose(&two_jobs(renamed, NO_ORDERS), Some(METRICS)),
        Link::ServiceMetric,
        "job fast: the series becomes \"o\"",
    );
}

#[test]
fn a_series_that_the_query_reads_and_every_job_drops_is_named() {
    let share = "sum(rate(<<.Series>>{<<.LabelMatchers>>}[4s])) by (<<.GroupBy>>) \
                 / sum(rate(sales_total{<<.LabelMatchers>>}[4m])) by (<<.GroupBy>>)";
    let query = "sum(rate(<<.Series>>{<<.LabelMatchers>>}[4s])) by (<<.GroupBy>>)";
    let only_orders = replaced(&two_jobs(ONLY_ORDERS, ONLY_ORDERS), query, share);
    let reads = replaced(&only_orders, "        scrape_interval: 1s\n", "");
    let diagnosis = diagnose(&reads, Some(METRICS));
    assert_link(
        &diagnosis,
        Link::ServiceMetric,
        LinkState::Broken,
        "a query reads sales_total: no job stores sales_total of the pods: job fast: keep",
    );
}

#[test]
fn a_series_that_two_jobs_store_is_counted_twice() {
    let says =
        "counted twice: job fast and job slow both store orders_total of the pod; the adapter sums both";
    let assert_twice = |manifests: &str, page| {
        let diagnosis = diagnose(&replaced(manifests, "[4s]", "[1m]"), page);
        assert_only_broken(&diagnosis, Link::PrometheusScrape, says);
    };
    for page in [Some(METRICS), None] {
        assert_twice(&two_jobs(ONLY_ORDERS, ""), page);
        assert_twice(&two_jobs("", ""), page);
    }
    // One sample that both jobs store is enough.
    let no_posts = "{source_labels: [method], regex: POST, action: drop}";
    assert_twice(&two_jobs(ONLY_ORDERS, no_posts), Some(METRICS));
}

#[test]
fn jobs_that_divide_the_samples_or_the_query_count_once() {
    let only = |method: &str| {
        format!("{{source_labels: [__name__, method], regex: orders_total;{method}, action: keep}}")
    };
    let divided = two_jobs(&only("GET"), &only("POST"));
    // With the page, the jobs store different samples. Without it, the check must not assume a repetition.
    for page in [Some(METRICS), None] {
        let diagnosis = diagnose(&replaced(&divided, "[4s]", "[1m]"), page);
        assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
        assert_link(&diagnosis, Link::PodSamples, LinkState::Ok, "");
    }
    let both = two_jobs("", "");
    for matcher in [r#"job="fast""#, r#"job!~"s.*""#] {
        let of_fast = replaced(
            &both,
            "{<<.LabelMatchers>>}",
            &format!("{{<<.LabelMatchers>>,{matcher}}}"),
        );
        let diagnosis = diagnose(&of_fast, Some(METRICS));
        assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
        assert!(diagnosis.links.iter().all(|link| link.warnings.is_empty()));
    }
    let maximum = replaced(&replaced(&both, "sum(rate", "max(rate"), "[4s]", "[1m]");
    assert!(diagnose(&maximum, Some(METRICS)).is_healthy());
}

#[test]
fn a_label_that_a_job_removes_from_the_series_is_named() {
    for removes in [
        "{regex: pod, action: labeldrop}",
        "{regex: __name__|namespace|method, action: labelkeep}",
        "{target_label: pod, replacement: ''}",
    ] {
        let rules = format!("{ONLY_ORDERS}, {removes}");
        assert_only_broken(
            &diagnose(&two_jobs(&rules, NO_ORDERS), Some(METRICS)),
            Link::AdapterRule,
            "the pod from the label pod, which no series has",
        );
    }
}

#[test]
fn a_series_that_a_job_renames_is_read_by_its_new_name() {
    let renamed =
        "{source_labels: [__name__], regex: sales_total, target_label: __name__, replacement: shop_total}";
    let manifests = two_jobs(&format!("{ONLY_ORDERS}, {renamed}"), renamed);
    let manifests = replaced(&manifests, "name: orders_per_second", "name: shop_per_second");
    let diagnosis = diagnose(&replaced(&manifests, "[4s]", "[1m]"), Some(METRICS));
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    assert_link(&diagnosis, Link::AdapterRule, LinkState::Ok, "from shop_total");
}
