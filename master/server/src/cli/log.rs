//! `buildguild log`: prints a step's log, and with `--follow` goes on until the log ends.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use super::client::{Build, Client, ClientError, Log, LogChunk, ServerArgs, Step, execute};
use super::report::Report;
use super::target::Target;
use super::wait::Pace;

/// Lines asked for at once: a log of any size passes through bounded memory.
const LINES_AT_ONCE: i64 = 2_000;

/// Print a log of a step
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// A build id, BUILDER/NUMBER, request:ID, or the address of a build's page
    #[arg(value_name = "BUILD")]
    pub(crate) build: Target,

    /// The step's name or number
    #[arg(value_name = "STEP")]
    pub(crate) step: String,

    /// Which of the step's logs
    #[arg(long, default_value = "stdio", value_name = "NAME")]
    pub(crate) log: String,

    /// Wait for the step and for more lines, until the log ends
    #[arg(long, short)]
    pub(crate) follow: bool,
}

impl LogArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// If the runtime cannot start; all else becomes an exit code.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        execute(run(&self))
    }
}

async fn run(args: &LogArgs) -> Result<u8, ClientError> {
    let client = Client::connect(&args.server).await?;
    let report = Report::new();
    let mut pace = Pace::new();
    let found = loop {
        let answer = find_log(&client, args).await;
        match pace.bear(&report, answer)? {
            Some(Found::Log(log)) => break log,
            Some(Found::NotYet(reason)) if args.follow => report.status(reason),
            Some(Found::NotYet(reason) | Found::Never(reason)) => {
                return Err(ClientError::NotFound { what: format!("log {}", args.log), message: reason });
            }
            None => {}
        }
        pace.next().await;
    };
    drop(report);
    print_log(&client, found, args.follow, &mut pace).await?;
    Ok(0)
}

/// What a search for a log came to.
enum Found {
    Log(Log),
    /// It may appear while the build runs.
    NotYet(String),
    Never(String),
}

async fn find_log(client: &Client, args: &LogArgs) -> Result<Found, ClientError> {
    let Some(build): Option<Build> = args.build.find_build(client).await? else {
        return Ok(Found::NotYet("the request has no build yet".to_owned()));
    };
    let steps: Vec<Step> = client.list(&["builds", &build.buildid.to_string(), "steps"], &[]).await?;
    let wanted = steps.iter().find(|step| step.name == args.step || step.number.to_string() == args.step);
    let Some(step) = wanted else {
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        let reason = format!("the build has no step {}; its steps are: {}", args.step, names.join(", "));
        return Ok(if build.complete { Found::Never(reason) } else { Found::NotYet(reason) });
    };
    let logs: Vec<Log> = client.list(&["steps", &step.stepid.to_string(), "logs"], &[]).await?;
    if let Some(log) = logs.iter().find(|log| log.name == args.log || log.slug == args.log) {
        return Ok(Found::Log(log.clone()));
    }
    let names: Vec<&str> = logs.iter().map(|log| log.name.as_str()).collect();
    let reason = match names.as_slice() {
        [] => format!("step {} has no log", step.name),
        names => format!("step {} has no such log; its logs are: {}", step.name, names.join(", ")),
    };
    Ok(if step.complete { Found::Never(reason) } else { Found::NotYet(reason) })
}

async fn print_log(client: &Client, mut log: Log, follow: bool, pace: &mut Pace) -> Result<(), ClientError> {
    let report = Report::new();
    let id = log.logid.to_string();
    let printer = Printer { stream: log.kind == "s", terminal: std::io::stdout().is_terminal() };
    let mut printed = 0;
    loop {
        while printed < log.num_lines {
            let limit = LINES_AT_ONCE.min(log.num_lines - printed);
            let query = [("offset", printed.to_string()), ("limit", limit.to_string())];
            let answer = client.list::<LogChunk>(&["logs", &id, "contents"], &query).await;
            let Some(chunks) = pace.bear(&report, answer)? else {
                pace.next().await;
                continue;
            };
            let content: String = chunks.into_iter().map(|chunk| chunk.content).collect();
            let lines = content.lines().count();
            // Fewer lines than announced: the rest is on its way, or will never come.
            if lines == 0 {
                break;
            }
            printer.print(&content)?;
            printed += i64::try_from(lines).unwrap_or(i64::MAX);
        }
        if log.complete || !follow {
            return Ok(());
        }
        pace.next().await;
        if let Some(now) = pace.bear(&report, client.one::<Log>(&["logs", &id]).await)? {
            log = now;
        }
    }
}

struct Printer {
    /// Lines carry a letter that tells their stream.
    stream: bool,
    terminal: bool,
}

impl Printer {
    fn print(&self, content: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for line in content.split_inclusive('\n') {
            let (text, letter) = match line.chars().next() {
                Some(letter) if self.stream => (&line[letter.len_utf8()..], letter),
                _ => (line, 'o'),
            };
            if !self.terminal {
                out.write_all(text.as_bytes())?;
                continue;
            }
            let text = text.trim_end_matches('\n');
            let colour = match letter {
                'e' => "31",
                'h' => "34",
                _ => "0",
            };
            writeln!(out, "\x1b[{colour}m{}\x1b[0m", harmless(text))?;
        }
        out.flush()
    }
}

/// What a job may do to the reader's terminal: print and colour. All other control sequences (titles, clipboard,
/// cursor) are dropped.
fn harmless(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(parameters) = rest.strip_prefix("\x1b[") {
            let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'));
            if let Some(end) = end
                && parameters[end..].starts_with('m')
            {
                kept.push_str(&rest[..end + 3]);
                rest = &parameters[end + 1..];
                continue;
            }
        }
        let skipped = rest.chars().next().map_or(0, char::len_utf8);
        rest = &rest[skipped..];
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn colours_reach_the_terminal_and_nothing_else_does() {
        assert_eq!(harmless("a\tb \x1b[1;31mred\x1b[0m ü"), "a\tb \x1b[1;31mred\x1b[0m ü");
        assert_eq!(harmless("\x1b]0;title\x07x\x1b[2J\x1b[3"), "]0;titlex[2J[3");
        assert_eq!(harmless("10%\r20%"), "10%20%");
        assert_eq!(harmless("\u{9b}31mx\x1b"), "31mx");
    }
}
