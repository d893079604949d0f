//! Where the commands' lines go: plain lines always, and on a terminal a moving line that says what goes on.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Lines on standard output, and progress on standard error if somebody watches.
#[derive(Debug)]
pub(crate) struct Report {
    bar: ProgressBar,
}

impl Report {
    /// A report that moves if standard error is a terminal.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::no_length();
        if std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner:.blue} {wide_msg} {elapsed:.dim}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar }
    }

    /// Prints a line that stays.
    pub(crate) fn line(&self, text: &str) -> std::io::Result<()> {
        self.bar.suspend(|| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()
        })
    }

    /// Says what goes on, on a terminal only.
    pub(crate) fn status(&self, text: impl Into<std::borrow::Cow<'static, str>>) {
        self.bar.set_message(text);
    }

    /// A warning on standard error.
    pub(crate) fn warn(&self, text: &str) {
        self.bar.suspend(|| eprintln!("warning: {text}"));
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A duration in seconds as people say it.
pub(crate) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations() {
        assert_eq!([-1, 59, 61, 3661].map(duration), ["0 s", "59 s", "1 min 1 s", "1 h 1 min"]);
    }
}
