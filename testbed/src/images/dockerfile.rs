//! Parses Dockerfiles (<https://docs.docker.com/reference/dockerfile/>), as far as the comparison of a stand-in with
//! its upstream image needs.

use std::collections::BTreeMap;

/// The properties of the image that the last stage of a Dockerfile builds.
#[derive(Debug, Default)]
pub(super) struct Dockerfile {
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    pub(super) user: String,
    pub(super) working_directory: Option<String>,
    /// The paths in the image that COPY and ADD create. Wildcards are not expanded.
    pub(super) copied_paths: Vec<String>,
    /// The commands in RUN of the last stage, split at `&&`.
    pub(super) commands: Vec<Vec<String>>,
    /// The commands of all stages. Earlier stages prepare the programs.
    pub(super) all_commands: Vec<Vec<String>>,
}

impl Dockerfile {
    /// Parses a Dockerfile. `arguments` are the values that `docker build --build-arg` would set.
    pub(super) fn parse(text: &str, arguments: &[(&str, &str)]) -> Self {
        let given: BTreeMap<_, _> = arguments.iter().copied().collect();
        let mut variables = BTreeMap::new();
        let mut stage = Self::default();
        for instruction in instructions(text) {
            let (name, rest) = instruction
                .split_once(char::is_whitespace)
                .unwrap_or((&instruction, ""));
            let rest = rest.trim();
            match name.to_uppercase().as_str() {
                "FROM" => {
                    stage = Self {
                        all_commands: stage.all_commands,
                        ..Self::default()
                    };
                }
                "ARG" | "ENV" => {
                    let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
                    let value = substitute(value.trim_matches('"'), &variables);
                    let value = given.get(name).map_or(value, |argument| (*argument).to_owned());
                    if !value.is_empty() {
                        variables.insert(name.to_owned(), value);
                    }
                }
                "USER" => stage.user = substitute(rest, &variables),
                "WORKDIR" => stage.working_directory = Some(substitute(rest, &variables)),
                "ENTRYPOINT" => stage.entrypoint = words(rest),
                "CMD" => stage.command = words(rest),
                "COPY" | "ADD" => stage
                    .copied_paths
                    .extend(copied_paths(&substitute(rest, &variables))),
                "RUN" => {
                    for command in rest.split("&&") {
                        let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
                        stage.commands.push(command.clone());
                        stage.all_commands.push(command);
                    }
                }
                _ => {}
            }
        }
        stage
    }
}

/// The instructions without comments, each as one line.
fn instructions(text: &str) -> Vec<String> {
    let mut complete = Vec::new();
    let mut incomplete = String::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(continued) = line.strip_suffix('\\') {
            incomplete.push_str(continued);
        } else {
            complete.push(std::mem::take(&mut incomplete) + line);
        }
    }
    complete
}

/// Replaces `${NAME}` and `$NAME` by the values of known variables. Unknown ones stay, so that a comparison shows them.
fn substitute(text: &str, variables: &BTreeMap<String, String>) -> String {
    // Longer names first: `$ARCHIVE` is not `$ARCH` followed by `IVE`.
    let mut names: Vec<_> = variables.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    names.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value)
    })
}

/// The words of a command: those of its exec form, or the shell that runs its shell form.
fn words(text: &str) -> Vec<String> {
    serde_json::from_str(text)
        .unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

/// The paths that a COPY or ADD with these arguments creates.
fn copied_paths(rest: &str) -> Vec<String> {
    let mut words: Vec<_> = rest
        .split_whitespace()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let target = words.pop().unwrap_or_default();
    if !target.ends_with('/') {
        return vec![target.to_owned()];
    }
    words
        .iter()
        .map(|source| format!("{target}{}", source.rsplit('/').next().unwrap_or(source)))
        .collect()
}

#[test]
fn parse_returns_the_last_stage_with_variables_and_continued_lines() {
    let file = Dockerfile::parse(
        r#"# a comment
ARG BASE
ARG USER_ID="65535"
FROM first AS build
ENTRYPOINT ["/other"]
RUN setcap cap=+ep /program
FROM ${BASE}
ARG BINARY
COPY --from=build --chmod=755 bin/${BINARY} NOTICE /usr/bin/
RUN chown -R nobody:nobody /data && \
    chmod g+w /data
WORKDIR /data
USER ${USER_ID}:$USER_ID
ENTRYPOINT [ "/usr/bin/program" ]
CMD [ "--one", \
      "--two=2" ]
"#,
        &[("BINARY", "program")],
    );
    assert_eq!(file.entrypoint, ["/usr/bin/program"]);
    assert_eq!(file.command, ["--one", "--two=2"]);
    assert_eq!(file.user, "65535:65535");
    assert_eq!(file.working_directory.as_deref(), Some("/data"));
    assert_eq!(file.copied_paths, ["/usr/bin/program", "/usr/bin/NOTICE"]);
    assert_eq!(
        file.commands,
        [
            vec!["chown", "-R", "nobody:nobody", "/data"],
            vec!["chmod", "g+w", "/data"]
        ]
    );
    assert_eq!(file.all_commands.len(), 3);
}
