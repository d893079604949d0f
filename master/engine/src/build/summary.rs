//! State strings of steps and builds, worded as Buildbot words them.

use buildguild_types::results::Results;
use serde_json::Value;

/// The longest state string that is kept, in characters.
const MAX_STATE_CHARS: usize = 1024;

/// What a step without a description says about its command: its first words in quotes.
pub(crate) fn of_command(command: &Value) -> String {
    let words: Vec<String> = match command {
        Value::String(line) => line.split_whitespace().map(str::to_owned).collect(),
        Value::Array(words) => words.iter().map(buildguild_types::pyrepr::str).collect(),
        _ => Vec::new(),
    };
    match words.as_slice() {
        [] => "???".to_owned(),
        [one] => format!("'{one}'"),
        [one, two] => format!("'{one} {two}'"),
        [one, two, ..] => format!("'{one} {two} ...'"),
    }
}

/// A rendered description: a text, or a list of words.
pub(crate) fn of_description(description: &Value) -> Option<String> {
    let text = match description {
        Value::Null => return None,
        Value::Array(words) => words.iter().map(buildguild_types::pyrepr::str).collect::<Vec<_>>().join(" "),
        other => buildguild_types::pyrepr::str(other),
    };
    (!text.is_empty()).then_some(text)
}

/// A step's state string after its end: results other than success are named.
pub(crate) fn of_step(text: &str, results: Results) -> String {
    match results {
        Results::Success => tidy(text),
        other => tidy(&format!("{text} ({other})")),
    }
}

/// A build's state string after its end: how it went, then what its steps had to say.
pub(crate) fn of_build(results: Results, reason: Option<&str>, steps: &[String]) -> String {
    let mut text = match results {
        Results::Success => "build successful".to_owned(),
        Results::Failure => "failed".to_owned(),
        other => other.name().to_owned(),
    };
    if let Some(reason) = reason {
        text.push(' ');
        text.push_str(reason);
    }
    for step in steps {
        text.push(' ');
        text.push_str(step);
    }
    tidy(&text)
}

/// A state string is one line of bounded length without what a database or a page could stumble over.
pub(crate) fn tidy(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_STATE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_are_named_by_their_first_words() {
        assert_eq!(of_command(&json!(["/bin/sh", "-c", "exit 1"])), "'/bin/sh -c ...'");
        assert_eq!(of_command(&json!("make")), "'make'");
        assert_eq!(of_command(&json!("make  test")), "'make test'");
        assert_eq!(of_command(&json!([])), "???");
    }

    #[test]
    fn builds_say_how_they_went_and_which_steps_why() {
        assert_eq!(of_build(Results::Success, None, &[]), "build successful");
        assert_eq!(
            of_build(Results::Failure, None, &["'/bin/sh -c ...' (failure)".to_owned()]),
            "failed '/bin/sh -c ...' (failure)"
        );
        assert_eq!(
            of_build(Results::Cancelled, Some("(because)"), &["'/bin/sh -c ...' (cancelled)".to_owned()]),
            "cancelled (because) '/bin/sh -c ...' (cancelled)"
        );
        assert_eq!(of_build(Results::Retry, Some("lost connection"), &[]), "retry lost connection");
        assert_eq!(of_step("update", Results::Success), "update");
        assert_eq!(of_step("update", Results::Exception), "update (exception)");
    }
}
