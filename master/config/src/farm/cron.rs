//! The times of `Nightly`: what a field may hold, as crontab(5) has it with Buildbot's additions.

use crate::lang::{Node, ObjectNode};

use super::Lower;

/// A field: its smallest and largest number and its names.
struct Field {
    min: i64,
    max: i64,
    names: &'static [&'static str],
    /// `L`, and for days of the week `1#2` and `L1`.
    last: bool,
    nth: bool,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn field(name: &str) -> Field {
    let plain = |min, max| Field { min, max, names: &[], last: false, nth: false };
    match name.trim_start_matches("force_at_") {
        "minute" => plain(0, 59),
        "hour" => plain(0, 23),
        "dayOfMonth" | "day_of_month" => Field { last: true, ..plain(1, 31) },
        "month" => Field { names: MONTHS, ..plain(1, 12) },
        // In numbers 0 is Monday; in crontab texts 0 and 7 are Sunday.
        _ => Field { names: DAYS, nth: true, ..plain(0, 7) },
    }
}

impl Lower<'_> {
    /// Reports what a time field cannot hold.
    pub(super) fn check_time(&self, o: &ObjectNode, name: &str) {
        let spec = field(name);
        let problem = match o.arg(name) {
            None => None,
            Some(Node::Int(n)) => number(*n, &spec),
            Some(Node::List(items)) => items.iter().find_map(|item| match item {
                Node::Int(n) => number(*n, &spec),
                Node::Str(text) => crontab(text, &spec),
                _ => Some("only numbers and texts can be in it".to_owned()),
            }),
            Some(Node::Str(text)) => crontab(text, &spec),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            self.report.argument(o, name, format!("{}: argument `{name}`: {problem}", o.class.name), None);
        }
    }
}

fn number(n: i64, spec: &Field) -> Option<String> {
    (!(spec.min..=spec.max).contains(&n)).then(|| format!("{n} is not between {} and {}", spec.min, spec.max))
}

/// What is wrong with a text such as `*/5`, `1-5`, `mon,fri`, `L`, `1#2`.
fn crontab(text: &str, spec: &Field) -> Option<String> {
    text.split(',').find_map(|part| part_problem(part.trim(), spec))
}

fn part_problem(part: &str, spec: &Field) -> Option<String> {
    let bad = || Some(format!("`{part}` cannot be understood"));
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    if let Some(step) = step
        && step.parse::<u32>().ok().filter(|s| *s > 0).is_none()
    {
        return bad();
    }
    if range == "*" {
        return None;
    }
    if spec.last && range.eq_ignore_ascii_case("l") {
        return None;
    }
    if spec.nth {
        if let Some((day, nth)) = range.split_once('#') {
            let nth = nth.parse::<u32>().ok().filter(|n| (1..=5).contains(n));
            return if nth.is_some() { value_problem(day, spec) } else { bad() };
        }
        if let Some(day) = range.strip_prefix(['L', 'l']) {
            return value_problem(day, spec);
        }
    }
    match range.split_once('-') {
        Some((from, to)) => value_problem(from, spec).or_else(|| value_problem(to, spec)),
        None => value_problem(range, spec),
    }
}

fn value_problem(value: &str, spec: &Field) -> Option<String> {
    if spec.names.contains(&value.to_ascii_lowercase().as_str()) {
        return None;
    }
    match value.parse::<i64>() {
        Ok(n) => number(n, spec),
        Err(_) => Some(format!("`{value}` cannot be understood")),
    }
}

#[cfg(test)]
mod tests {
    use super::{crontab, field};

    #[test]
    fn fields_of_crontab() {
        for (name, good) in [
            ("minute", "*/15"),
            ("hour", "8-18/2,22"),
            ("dayOfMonth", "L"),
            ("month", "jan,Mar-5"),
            ("dayOfWeek", "mon-fri"),
            ("dayOfWeek", "1#2"),
            ("force_at_day_of_week", "L5"),
        ] {
            assert_eq!(crontab(good, &field(name)), None, "{name} {good}");
        }
        for (name, bad) in [
            ("minute", "60"),
            ("minute", "*/0"),
            ("hour", "noon"),
            ("dayOfMonth", "0"),
            ("month", "mon"),
            ("dayOfWeek", "1#6"),
            ("dayOfWeek", ""),
            ("hour", "L"),
        ] {
            assert!(crontab(bad, &field(name)).is_some(), "{name} {bad}");
        }
    }
}
