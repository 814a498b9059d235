//! As much of Dockerfiles as it takes to compare a stand-in with upstream's
//! (<https://docs.docker.com/reference/dockerfile/>).

use std::collections::BTreeMap;

/// What a Dockerfile says of the image that its last stage makes.
#[derive(Debug, Default)]
pub(super) struct Dockerfile {
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    pub(super) user: String,
    pub(super) working_directory: Option<String>,
    /// Paths that COPY and ADD bring, `*` as it is written.
    pub(super) brought: Vec<String>,
    /// Commands of the last stage, one by one.
    pub(super) commands: Vec<Vec<String>>,
    /// Those of all stages: programs are prepared in earlier ones.
    pub(super) all_commands: Vec<Vec<String>>,
}

impl Dockerfile {
    /// Reads the text, with values for what it leaves to `docker build --build-arg`.
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
                    let value = substituted(value.trim_matches('"'), &variables);
                    let value = given.get(name).map_or(value, |argument| (*argument).to_owned());
                    if !value.is_empty() {
                        variables.insert(name.to_owned(), value);
                    }
                }
                "USER" => stage.user = substituted(rest, &variables),
                "WORKDIR" => stage.working_directory = Some(substituted(rest, &variables)),
                "ENTRYPOINT" => stage.entrypoint = words(rest),
                "CMD" => stage.command = words(rest),
                "COPY" | "ADD" => stage.brought.extend(brought(&substituted(rest, &variables))),
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

/// The instructions, each in one line, without comments.
fn instructions(text: &str) -> Vec<String> {
    let mut whole = Vec::new();
    let mut open = String::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(continued) = line.strip_suffix('\\') {
            open.push_str(continued);
        } else {
            whole.push(std::mem::take(&mut open) + line);
        }
    }
    whole
}

/// `${NAME}` and `$NAME` with the values that are known; others stay as they are, to be seen where they matter.
fn substituted(text: &str, variables: &BTreeMap<String, String>) -> String {
    // Longer names first: `$ARCHIVE` is not `$ARCH` and more.
    let mut names: Vec<_> = variables.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    names.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value)
    })
}

/// A command in its exec form, or as the shell form starts it.
fn words(text: &str) -> Vec<String> {
    serde_json::from_str(text)
        .unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn brought(rest: &str) -> Vec<String> {
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
fn the_last_stage_counts_with_its_variables_and_long_lines() {
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
    assert_eq!(file.brought, ["/usr/bin/program", "/usr/bin/NOTICE"]);
    assert_eq!(
        file.commands,
        [
            vec!["chown", "-R", "nobody:nobody", "/data"],
            vec!["chmod", "g+w", "/data"]
        ]
    );
    assert_eq!(file.all_commands.len(), 3);
}
