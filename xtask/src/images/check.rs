//! The test of the images that were built: each exists, starts as its own user with only its files, and answers.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{command, paths, progress, wait};

use super::image::{Image, LOADTEST, Profile, SERVICES};
use super::root::Root;

/// How long a service may take to become ready: as its startup probe.
const READY: Duration = Duration::from_secs(30);

/// How long a request, the end of a service, or a program that prints its version may take. All take milliseconds on an idle machine.
const REQUEST: Duration = Duration::from_secs(10);

/// The lines of the log in an error.
const LOG_LINES: usize = 10;

/// Starts every image, and asks it.
///
/// # Errors
/// When an image does not start, or does not answer as it must: the message contains its log.
pub(crate) fn check(profile: Profile) -> Result<()> {
    // A fixed folder: the next run removes what a killed one left.
    let folder = paths::target().join("images-check");
    let _ = fs::remove_dir_all(&folder);
    let result = progress::step("start each image, and ask it", || {
        let root = |image: &Image| Root::unpack(&image.archive(profile), &folder.join(image.name));
        let [app_a, app_b, serving_cert] = &SERVICES;
        for image in [serving_cert, &LOADTEST] {
            prints_its_version(image, &root(image)?).with_context(|| image.name.to_owned())?;
        }
        let [b, b_admin, a, a_admin] = free_addresses()?;
        let b_root = root(app_b)?;
        let users = [("DEMO_USERS", "true".to_owned())];
        let running_b = Running::start(app_b, &b_root, b, b_admin, &users, &folder)?;
        let a_root = root(app_a)?;
        let url = [("APP_B_URL", format!("http://{b}"))];
        let running_a = Running::start(app_a, &a_root, a, a_admin, &url, &folder)?;
        for (running, questions) in [(&running_b, &APP_B[..]), (&running_a, &APP_A[..])] {
            for question in questions {
                let asked = question.ask(running.address);
                asked.with_context(|| running.describe())?;
            }
        }
        running_a.stop()?;
        running_b.stop()
    });
    let _ = fs::remove_dir_all(&folder);
    result
}

/// A request, and the answer to it.
struct Question {
    request: &'static str,
    headers: &'static str,
    body: &'static str,
    status: &'static str,
    answer: &'static str,
}

const APP_A: [Question; 3] = [
    Question {
        request: "GET /hello",
        headers: "",
        body: "",
        status: "200",
        answer: "Hello there",
    },
    // Through app_b.
    Question {
        request: "PUT /jobs",
        headers: "Authorization: mytoken\r\n",
        body: "",
        status: "200",
        answer: "Jobs:\nTitle: Devops\nDescription: Awesome\n",
    },
    Question {
        request: "PUT /jobs",
        headers: "Authorization: wrong\r\n",
        body: "",
        status: "401",
        answer: "fail",
    },
];

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

const APP_B: [Question; 2] = [
    Question {
        request: "POST /auth",
        headers: FORM,
        body: "token=mytoken",
        status: "200",
        answer: "density",
    },
    Question {
        request: "POST /auth",
        headers: FORM,
        body: "token=wrong",
        status: "401",
        answer: "fail",
    },
];

const READINESS: Question = Question {
    request: "GET /readyz",
    headers: "",
    body: "",
    status: "200",
    answer: "ready\n",
};

impl Question {
    /// Sends the request on a new connection, and compares the answer.
    fn ask(&self, address: SocketAddr) -> Result<()> {
        let mut connection = TcpStream::connect_timeout(&address, REQUEST)?;
        connection.set_read_timeout(Some(REQUEST))?;
        let Self {
            request,
            headers,
            body,
            ..
        } = self;
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        connection.write_all(text.as_bytes())?;
        let mut response = String::new();
        connection.read_to_string(&mut response)?;
        let status = response.split(' ').nth(1).unwrap_or_default();
        let answer = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        ensure!(
            status == self.status && answer == self.answer,
            "{request} must answer {} with {:?}, and answers {response:?}",
            self.status,
            self.answer
        );
        Ok(())
    }
}

/// A program that has nothing to serve prints its version.
fn prints_its_version(image: &Image, root: &Root) -> Result<()> {
    let output = command::output(root.command()?.arg("--version"), REQUEST)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let expected = format!("{} {}", image.program, env!("CARGO_PKG_VERSION"));
    ensure!(
        output.status.success() && printed.trim() == expected,
        "--version must print {expected:?}: {}, {printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A running service. Dropping it kills it.
struct Running {
    name: &'static str,
    process: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Running {
    /// Starts an image, and waits until it is ready.
    fn start(
        image: &Image,
        root: &Root,
        address: SocketAddr,
        admin: SocketAddr,
        variables: &[(&str, String)],
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{}.log", image.name));
        let file = File::create(&log)?;
        let process = root
            .command()?
            .env("LISTEN", address.to_string())
            .env("ADMIN_LISTEN", admin.to_string())
            // No load balancer has to notice.
            .env("DRAIN_DELAY", "0s")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot run unshare (package util-linux)")?;
        let mut running = Self {
            name: image.name,
            process,
            address,
            log,
        };
        let ready = wait::until("it is ready", READY, || match running.process.try_wait()? {
            Some(status) => Ok(Err(anyhow!("it exited with {status}"))),
            None => READINESS.ask(admin).map(Ok),
        });
        ready
            .and_then(|exited| exited)
            .with_context(|| running.describe())?;
        Ok(running)
    }

    /// The name of the image, and the end of its log.
    fn describe(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        format!("{}, with this log:\n{last}\n", self.name)
    }

    /// Stops the service as a kubelet does, and expects that it ends in order.
    fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.process.id())?), Signal::SIGTERM)?;
        let ended = wait::until("it ends after SIGTERM", REQUEST, || {
            self.process.try_wait()?.context("it is still running")
        });
        let status = ended.with_context(|| self.describe())?;
        ensure!(status.success(), "after SIGTERM: {status}: {}", self.describe());
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Addresses of the loopback that nothing listens on.
fn free_addresses<const COUNT: usize>() -> Result<[SocketAddr; COUNT]> {
    let mut listeners = Vec::new();
    // All at once, so that they differ.
    for _ in 0..COUNT {
        listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    }
    let addresses: Vec<_> = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?;
    addresses.try_into().map_err(|_| anyhow!("not {COUNT} addresses"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a server that sends this response.
    fn ask(question: &Question, response: &'static str) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let server = std::thread::spawn(move || -> std::io::Result<String> {
            let (mut connection, _) = listener.accept()?;
            let mut request = [0; 1024];
            let length = connection.read(&mut request)?;
            connection.write_all(response.as_bytes())?;
            Ok(String::from_utf8_lossy(&request[..length]).into_owned())
        });
        let asked = question.ask(address);
        let request = server.join().expect("no panic")?;
        ensure!(request.starts_with(question.request), "{request}");
        asked
    }

    #[test]
    fn only_the_expected_answer_passes() {
        let [hello, ..] = &APP_A;
        ask(hello, "HTTP/1.1 200 OK\r\na: b\r\n\r\nHello there").unwrap();
        for wrong in [
            "HTTP/1.1 200 OK\r\na: b\r\n\r\nHello",
            "HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nHello there",
            "HTTP/1.1 200 OK\r\n",
            "",
        ] {
            let error = ask(hello, wrong).unwrap_err().to_string();
            assert!(error.contains("GET /hello must answer 200"), "{wrong:?}: {error}");
        }
    }
}
