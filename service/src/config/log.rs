//! The settings of the log. `app_a`, `app_b` and `serving-cert` have them.

use clap::{Args, ValueEnum};

use super::values;

/// The settings of the log.
#[derive(Debug, Clone, Args)]
pub struct LogConfig {
    /// Format of log lines; auto means text on a terminal and json elsewhere
    #[arg(
        long = "log-format",
        env = "LOG_FORMAT",
        id = "log_format",
        value_enum,
        default_value = "auto"
    )]
    pub format: LogFormat,

    /// Which events are logged: a level, or levels by module such as `info,app_a=debug`
    #[arg(long = "log-filter", env = "LOG_FILTER", id = "log_filter", value_name = "FILTER",
          value_parser = values::log_filter, default_value = "info")]
    pub filter: String,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object per line.
    Json,
    /// Lines for people.
    Text,
}

impl LogFormat {
    /// Whether log lines are JSON. `on_terminal` states whether standard output is a terminal.
    #[must_use]
    pub fn is_json(self, on_terminal: bool) -> bool {
        match self {
            Self::Auto => !on_terminal,
            Self::Json => true,
            Self::Text => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_text_on_a_terminal_and_json_elsewhere() {
        assert!(LogFormat::Auto.is_json(false));
        assert!(!LogFormat::Auto.is_json(true));
        assert!(!LogFormat::Text.is_json(false));
        assert!(LogFormat::Json.is_json(true));
    }
}
