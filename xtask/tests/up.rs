//! `cargo xtask up`, as somebody at a terminal uses it: on its own ports, until Ctrl-C.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(20);

/// The answer to a request on a connection of its own.
fn ask(address: &str, request: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let request = format!("{request}\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    io::read_to_string(connection)
}

/// `xtask up`, ended with the test, whatever the test finds.
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
        let line = line.unwrap_or_else(|| panic!("no URL of {name}: {printed:#?}"));
        line.split(' ').next().unwrap().to_owned()
    };
    let (app_a, app_b) = (url_of("app_a"), url_of("app_b"));
    let hello = ask(&app_a, "GET /hello HTTP/1.1").unwrap();
    assert!(
        hello.starts_with("HTTP/1.1 200 ") && hello.ends_with("Hello there"),
        "{hello}"
    );
    let jobs = ask(&app_a, "PUT /jobs HTTP/1.1\r\nAuthorization: mytoken").unwrap();
    assert!(jobs.starts_with("HTTP/1.1 200 "), "{jobs}");

    // As a terminal does: to all that it has started in the foreground.
    let group = Pid::from_raw(up.0.id().try_into().unwrap());
    killpg(group, Signal::SIGINT).unwrap();
    let rest: Vec<_> = lines.collect();
    assert!(up.0.wait().unwrap().success(), "{rest:#?}");
    for address in [app_a, app_b] {
        assert!(TcpStream::connect(&address).is_err(), "{address} is still served");
    }
    for name in ["app_a", "app_b"] {
        let ended = format!("{name} ended with exit status: 0");
        assert!(rest.contains(&ended), "{rest:#?}");
    }
}
