//! A bad release of `app_a`, for the tests of the canary. It answers as `app_a` does, without `app_b`, but for the fault that the variable
//! `FAULT` names. Only the standard library, so that `rustc` alone compiles it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The bounds of the histogram of `app_a`.
const BOUNDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

const JOBS: &str = "Jobs:\nTitle: Devops\nDescription: Awesome\n";

/// The demonstration user's token, which is public.
const TOKEN: &str = "mytoken";

/// A connection is closed after this time, as `app_a` does when it stops. This program has no shutdown of its own.
const CONNECTION_AGE: Duration = Duration::from_secs(2);

/// More requests than the tests before the load send.
const WORKS_FOR: u64 = 300;

/// One request in ten is slow, by so much that users notice, and the average is still good.
const SLOW_EVERY: u64 = 10;
const SLOW: Duration = Duration::from_millis(400);

/// So slow that the average alone shows it.
const VERY_SLOW: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// `/jobs` answers another text.
    WrongAnswers,
    /// Every request is slow.
    Slow,
    /// One request in ten is slow.
    SometimesSlow,
    /// After 300 requests, all fail.
    WearsOut,
    /// `/metrics` has no metrics of requests.
    NoMetrics,
}

struct Server {
    fault: Option<Fault>,
    pod: String,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    all: u64,
    statuses: BTreeMap<u16, u64>,
    buckets: [u64; BOUNDS.len()],
    seconds: f64,
}

fn main() -> std::io::Result<()> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let fault = match &*variable("FAULT") {
        "wrong-answers" => Some(Fault::WrongAnswers),
        "slow" => Some(Fault::Slow),
        "sometimes-slow" => Some(Fault::SometimesSlow),
        "wears-out" => Some(Fault::WearsOut),
        "no-metrics" => Some(Fault::NoMetrics),
        "crash" => std::process::exit(1),
        _ => None,
    };
    let server = Arc::new(Server {
        fault,
        pod: variable("POD_NAME"),
        counted: Mutex::default(),
    });
    let admin = TcpListener::bind(variable("ADMIN_LISTEN"))?;
    let listener = TcpListener::bind(variable("LISTEN"))?;
    let admin_server = Arc::clone(&server);
    thread::spawn(move || accept(&admin, &admin_server, Server::admin));
    accept(&listener, &server, Server::answer);
    Ok(())
}

/// A request: its method, its path, and its token.
struct Request {
    method: String,
    path: String,
    token: Option<String>,
}

struct Answer {
    status: u16,
    body: String,
    headers: &'static str,
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        body: body.to_owned(),
        headers: "content-type: text/html; charset=utf-8\r\n",
    }
}

type Handler = fn(&Server, &Request) -> Answer;

fn accept(listener: &TcpListener, server: &Arc<Server>, handler: Handler) {
    for stream in listener.incoming().flatten() {
        let server = Arc::clone(server);
        // An error ends this connection only.
        thread::spawn(move || drop(serve(stream, &server, handler)));
    }
}

fn serve(mut stream: TcpStream, server: &Server, handler: Handler) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let opened = Instant::now();
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read(&mut reader)? {
        let Answer {
            status,
            body,
            headers,
        } = handler(server, &request);
        let is_last = opened.elapsed() > CONNECTION_AGE;
        let connection = if is_last { "close" } else { "keep-alive" };
        let length = body.len();
        let pod = &server.pod;
        let response = format!(
            "HTTP/1.1 {status} -\r\n{headers}connection: {connection}\r\nx-served-by: {pod}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(response.as_bytes())?;
        if is_last {
            break;
        }
    }
    Ok(())
}

/// Reads the head of a request. None of the tests sends a body. `None` at the end of the connection.
fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        token: None,
    };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(Some(request));
        };
        if name.eq_ignore_ascii_case("authorization") {
            request.token = Some(value.trim().to_owned());
        }
    }
}

impl Server {
    fn answer(&self, request: &Request) -> Answer {
        let started = Instant::now();
        let number = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted.all += 1;
            counted.all
        };
        let delay = match self.fault {
            Some(Fault::Slow) => VERY_SLOW,
            Some(Fault::SometimesSlow) if number.is_multiple_of(SLOW_EVERY) => SLOW,
            _ => Duration::ZERO,
        };
        #[expect(clippy::disallowed_methods, reason = "it is the fault")]
        thread::sleep(delay);
        let is_worn_out = self.fault == Some(Fault::WearsOut) && number > WORKS_FOR;
        let answer = if is_worn_out {
            answer(503, "worn out")
        } else {
            self.route(request)
        };
        self.count(answer.status, started.elapsed().as_secs_f64());
        answer
    }

    fn route(&self, request: &Request) -> Answer {
        match (&*request.method, &*request.path) {
            ("GET", "/hello") => answer(200, "Hello there"),
            ("PUT" | "POST", "/jobs") if request.token.as_deref() == Some(TOKEN) => {
                let wrong = self.fault == Some(Fault::WrongAnswers);
                answer(200, if wrong { "Jobs:\n" } else { JOBS })
            }
            ("PUT" | "POST", "/jobs") => Answer {
                headers: "www-authenticate: Bearer\r\n",
                ..answer(401, "fail")
            },
            (_, "/jobs" | "/hello") => answer(405, ""),
            _ => answer(404, ""),
        }
    }

    fn count(&self, status: u16, seconds: f64) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.statuses.entry(status).or_default() += 1;
        counted.seconds += seconds;
        for (bound, count) in BOUNDS.iter().zip(&mut counted.buckets) {
            *count += u64::from(seconds <= *bound);
        }
    }

    /// The admin port.
    fn admin(&self, request: &Request) -> Answer {
        match &*request.path {
            "/livez" | "/readyz" => answer(200, "ok"),
            "/metrics" => Answer {
                headers: "content-type: text/plain; version=0.0.4\r\n",
                ..answer(200, &self.metrics())
            },
            _ => answer(404, ""),
        }
    }

    fn metrics(&self) -> String {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = "# TYPE build_info gauge\nbuild_info 1\n".to_owned();
        if self.fault == Some(Fault::NoMetrics) {
            return text;
        }
        let mut line = |line: String| text.extend([line.as_str(), "\n"]);
        line("# TYPE http_requests_total counter".to_owned());
        line("http_requests_total{method=\"HEAD\",route=\"/hello\",status=\"200\"} 0".to_owned());
        for (status, count) in &counted.statuses {
            line(format!(
                "http_requests_total{{method=\"GET\",route=\"/hello\",status=\"{status}\"}} {count}"
            ));
        }
        let name = "http_request_duration_seconds";
        line(format!("# TYPE {name} histogram"));
        for (bound, count) in BOUNDS.iter().zip(counted.buckets) {
            line(format!("{name}_bucket{{le=\"{bound}\"}} {count}"));
        }
        let all: u64 = counted.statuses.values().sum();
        line(format!("{name}_bucket{{le=\"+Inf\"}} {all}"));
        line(format!("{name}_sum {}", counted.seconds));
        line(format!("{name}_count {all}"));
        text
    }
}
