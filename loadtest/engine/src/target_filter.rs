//! The targets that a threshold applies to, in the syntax of k6's tags: `method:PUT,path:/jobs`. Pure.

use std::str::FromStr;

use super::target::Target;

/// A condition on targets. Every tag must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TargetFilter {
    /// The request method.
    method: Option<String>,
    /// The path, or the path with its query.
    path: Option<String>,
    /// The whole URL.
    url: Option<String>,
}

impl TargetFilter {
    /// Returns whether the target has every tag.
    pub(crate) fn selects(&self, target: &Target) -> bool {
        let is =
            |tag: &Option<String>, values: &[&str]| tag.as_deref().is_none_or(|tag| values.contains(&tag));
        let path = target.url.path();
        let with_query = target.url.path_and_query().map_or(path, |path| path.as_str());
        is(&self.method, &[target.method.as_str()])
            && is(&self.path, &[path, with_query])
            && is(&self.url, &[&target.url.to_string()])
    }
}

impl FromStr for TargetFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for part in text.split(',') {
            let (tag, value) = part.split_once(':').unwrap_or((part, ""));
            if value.is_empty() {
                return Err(format!("`{part}` has no value; write for example path:/hello"));
            }
            let field = match tag {
                "method" => &mut filter.method,
                "path" => &mut filter.path,
                "url" => &mut filter.url,
                _ => {
                    return Err(format!(
                        "`{tag}` is not a tag of a target; use method, path or url"
                    ));
                }
            };
            let value = if tag == "method" {
                value.to_ascii_uppercase()
            } else {
                value.to_owned()
            };
            if field.replace(value).is_some() {
                return Err(format!("`{tag}` is given twice"));
            }
        }
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_must_have_every_tag() {
        let targets: Vec<Target> = ["1 GET http://h/a", "1 PUT http://h/a?x=1", "1 GET http://h:1/b"]
            .map(|text| text.parse().unwrap())
            .into();
        for (filter, expected) in [
            ("method:get", vec![0, 2]),
            ("path:/a", vec![0, 1]),
            ("path:/a?x=1", vec![1]),
            ("path:/a,method:PUT", vec![1]),
            ("url:http://h:1/b", vec![2]),
            ("path:/b,method:PUT", vec![]),
        ] {
            let filter: TargetFilter = filter.parse().unwrap();
            let selected: Vec<usize> = (0..3)
                .filter(|position| filter.selects(&targets[*position]))
                .collect();
            assert_eq!(selected, expected, "{filter:?}");
        }
    }

    #[test]
    fn errors_of_invalid_filters_show_valid_ones() {
        for (text, expected) in [
            ("", "path:/hello"),
            ("path:", "path:/hello"),
            ("hello", "path:/hello"),
            ("name:hello", "use method, path or url"),
            ("path:/a,path:/b", "given twice"),
        ] {
            let error = text.parse::<TargetFilter>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
