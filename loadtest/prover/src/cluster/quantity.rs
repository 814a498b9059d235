//! Converts Kubernetes quantities to numbers: `49500m` is 49.5.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

pub use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The suffixes and their factors.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// Returns the number that a quantity stands for, or `None` if the text is not a finite quantity.
#[must_use]
pub fn number(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    // `1e3` and `1E3` are exponents, `1E` is a suffix: parse as a plain number first.
    let parsed = text.parse().ok().or_else(|| {
        SUFFIXES.iter().find_map(|(suffix, factor)| {
            text.strip_suffix(suffix)?
                .parse::<f64>()
                .ok()
                .map(|number| number * factor)
        })
    });
    parsed.filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_parses_every_notation() {
        for (text, expected) in [
            ("50", 50.0),
            ("49500m", 49.5),
            ("0", 0.0),
            ("1e3", 1000.0),
            ("2E", 2e18),
            ("1Ki", 1024.0),
            ("1.5k", 1500.0),
            ("250u", 0.000_25),
            ("-3", -3.0),
        ] {
            let parsed = number(&Quantity(text.to_owned())).unwrap();
            assert!(
                (parsed - expected).abs() <= expected.abs() * 1e-12,
                "{text} is {parsed}"
            );
        }
        for text in ["", "m", "fifty", "inf", "1x"] {
            assert_eq!(number(&Quantity(text.to_owned())), None, "{text}");
        }
    }
}
