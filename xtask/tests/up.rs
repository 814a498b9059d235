//! `cargo xtask up` as a user runs it in a terminal: on its fixed ports, until Ctrl-C.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Sends a request on a new connection and returns the response.
fn request(address: &str, head: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    let request = format!("{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    io::read_to_string(connection)
}

/// `xtask up`. It is killed when the test ends.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_pair_answers_at_the_printed_urls_until_ctrl_c() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("up").stdout(Stdio::piped()).process_group(0);
    let mut up = Up(command.spawn().unwrap());
    let mut lines = BufReader::new(up.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let printed: Vec<_> = lines
        .by_ref()
        .take_while(|line| line != "Ctrl-C stops both.")
        .collect();
    let url_of = |name: &str| {
        let line = printed
            .iter()
            .find_map(|line| line.strip_prefix(&format!("{name}  http://")));
        let line = line.unwrap_or_else(|| panic!("no URL of {name} in the output: {printed:#?}"));
        line.split(' ').next().unwrap().to_owned()
    };
    let (app_a, app_b) = (url_of("app_a"), url_of("app_b"));
    let hello = request(&app_a, "GET /hello HTTP/1.1").unwrap();
    assert!(
        hello.starts_with("HTTP/1.1 200 ") && hello.ends_with("Hello there"),
        "{hello}"
    );
    let jobs = request(&app_a, "PUT /jobs HTTP/1.1\r\nAuthorization: mytoken").unwrap();
    assert!(jobs.starts_with("HTTP/1.1 200 "), "{jobs}");

    // A terminal sends SIGINT to the whole foreground process group.
    let group = Pid::from_raw(up.0.id().try_into().unwrap());
    killpg(group, Signal::SIGINT).unwrap();
    let rest: Vec<_> = lines.collect();
    assert!(up.0.wait().unwrap().success(), "{rest:#?}");
    for address in [app_a, app_b] {
        assert!(
            TcpStream::connect(&address).is_err(),
            "{address} still accepts connections"
        );
    }
    for name in ["app_a", "app_b"] {
        let stopped = format!("{name} stopped: exit status: 0");
        assert!(rest.contains(&stopped), "{rest:#?}");
    }
}
