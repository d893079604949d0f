//! Tests of what a config may say and what is wrong with it, one small config each.

use crate::diagnostic::{Diagnostic, render_all};

use super::load::Evaluated;
use super::tests::load;

/// A config that is right, without its builders' end.
const BASE: &str = "from buildbot.plugins import *
c = BuildmasterConfig = {}
c['workers'] = [worker.Worker('w', 'p')]
c['protocols'] = {'msgpack_experimental_v7': {'port': 9989}}
f = util.BuildFactory([steps.ShellCommand(command=['true'])])
b = util.BuilderConfig(name='b', workername='w', factory=f)
c['builders'] = [b]
c['schedulers'] = [schedulers.ForceScheduler(name='force', builderNames=['b'])]
";

fn with(text: &str) -> Evaluated {
    load(&format!("{BASE}{text}\n"))
}

/// What is right, and must stay so.
const RIGHT: &[&str] = &[
    "c['builders'].append({'name': 'd', 'workername': 'w', 'factory': f})\nc['schedulers'].append(schedulers.Triggerable('t', ['d']))",
    "c['builders'][0] = dict(name='b', workernames=['w'], factory=f, tags=['x'], builddir='d')",
    "f.workdir = 'x'",
    "f.workdir = util.Interpolate('%(prop:x)s')",
    "b.description = 'late'",
    "b.tags.append('x')\nb.env['A'] = 'b'\nb.properties['p'] = [1]\nb.defaultProperties.update({'q': 1})",
    "c['workers'].append(worker.Worker('v', 'p'))\nb.workernames.append('v')",
    "f.addStep(steps.SetProperty('a', 'b'))\nf.addSteps([steps.SetProperty('c', 'd')])",
    "f.steps.append(steps.SetProperty('a', 'b'))",
    "f.addStep(steps.Git('r', mode='full', method='clobber', shallow=True))\nf.addStep(steps.Git('r', shallow=3))",
    "c['change_source'] = changes.GitPoller('r', only_tags=True)",
    "c['change_source'] = changes.GitPoller('r', pollInterval=60, pollRandomDelayMax=20)",
    "c['www'] = {'port': 'tcp:8010:interface=127.0.0.1'}\nc['db'] = {'db_url': 'postgresql://u:p@h/d'}",
    "c['mq'] = {'type': 'simple', 'debug': True}",
    "f.addStep(steps.ShellCommand(command='x', doStepIf=util.Property('x') == 'y'))",
    "f.addStep(steps.ShellCommand(command='x', doStepIf='y' == util.Property('x')))",
    "f.addStep(steps.ShellCommand(command='x', doStepIf=util.Property('n') >= 3))",
];

#[test]
fn what_buildbot_accepts_is_accepted() {
    for text in RIGHT {
        let mut diagnostics = with(text).diagnostics;
        diagnostics.retain(|said| !said.message.contains("starts no builds in this version"));
        assert_eq!(render_all(&diagnostics), "0 errors", "{text}");
    }
}

/// What is wrong: the text, the line after the base (0: any), the column (0: any), whether it is an error, and a part
/// of the message.
const WRONG: &[(&str, u32, u32, bool, &str)] = &[
    (
        "c['builders'].append({'name': 'd', 'workername': 'w', 'factory': f, 'colour': 1})",
        1,
        69,
        true,
        "BuilderConfig has no argument `colour`",
    ),
    ("c['builders'].append({'name': 'd', 'workername': 'w'})", 1, 22, true, "needs the argument `factory`"),
    ("c['builders'].append({'name': 'd', 'workername': 'nope', 'factory': f})", 1, 50, true, "unknown worker `nope`"),
    (
        "c['builders'].append({'name': 'd',\n    'workername': 3, 'factory': f})",
        2,
        5,
        true,
        "argument `workername` must be",
    ),
    ("c['workers'].append({'name': 'x', 'password': 'y'})", 0, 0, true, "takes workers only, not a dict"),
    ("f.colour = 'x'", 1, 1, true, "has no attribute `colour`"),
    ("f.workdir = 3", 1, 1, true, "argument `workdir` must be"),
    ("b.tags.append(3)", 0, 0, true, "argument `tags` must hold strings only"),
    ("f.steps.append('make')", 0, 0, true, "argument `steps` must hold objects only"),
    ("b.workernames.append('nope')", 0, 0, true, "unknown worker `nope`"),
    ("c['protocols'] = {'pb': {'port': 'tcp:99999'}}", 0, 0, true, "a port is a number from 0 to 65535, not 99999"),
    ("c['www'] = {'port': 99999}", 1, 13, true, "c['www']['port']: a port is a number from 0 to 65535"),
    ("c['www'] = dict(port='xyz')", 1, 17, true, "c['www']['port']: \"xyz\": expected a port"),
    ("c['db'] = {'db_url': 'mysql://secret@x'}", 1, 12, true, "`mysql` databases are not supported"),
    ("c['db_url'] = 'nothing'", 1, 3, true, "expected postgresql://... or sqlite:///path"),
    ("c['mq'] = {'type': 'amqp'}", 1, 12, true, "`amqp` is no type"),
    ("c['mq'] = {'type': 'wamp'}", 1, 3, false, "no WAMP router"),
    ("c['status'] = []", 1, 3, false, "c['status'] has no effect"),
    ("c['workers'].append(worker.Worker('debug', 'p'))", 1, 35, true, "worker name `debug` is reserved"),
    (
        "f.addStep(steps.Git('r', mode='full', method='fresh', shallow=True))",
        1,
        55,
        true,
        "only possible with method 'clobber'",
    ),
    ("f.addStep(steps.Git('r', method='fresh'))", 1, 26, false, "no effect without mode='full'"),
    (
        "c['schedulers'].append(schedulers.SingleBranchScheduler('s', ['b'], branch='m', change_filter=util.ChangeFilter(branch='x')))",
        1,
        69,
        false,
        "`branch` has no effect beside `change_filter`",
    ),
    ("c['schedulers'].append(schedulers.SingleBranchScheduler('s', ['b']))", 1, 24, false, "mixes all branches"),
    (
        "c['schedulers'].append(schedulers.ForceScheduler('s', ['b'], properties=[util.StringParameter(name='reason')]))",
        1,
        62,
        false,
        "shares its field",
    ),
    (
        "c['schedulers'].append(schedulers.ForceScheduler('s', ['b'], codebases=['a', 'a']))",
        1,
        73,
        true,
        "`a` is named twice",
    ),
    ("c['schedulers'].append(schedulers.ForceScheduler('s', ['b'], codebases=[]))", 1, 62, true, "cannot be empty"),
    (
        "c['change_source'] = changes.GitPoller('r', branches=lambda b: True, only_tags=True)",
        1,
        45,
        true,
        "`only_tags` or `branches`",
    ),
    ("c['change_source'] = changes.GitPoller('r', branches=False)", 1, 45, true, "not False"),
    (
        "c['change_source'] = changes.GitPoller('r', pollInterval=5, pollRandomDelayMax=20)",
        1,
        61,
        true,
        "must be less than `pollInterval`",
    ),
    ("c['schedulers'].append(schedulers.Nightly('s', ['b'], hour=25))", 1, 55, true, "hour"),
    ("x = '{:>3'.format(1)", 1, 0, true, "`{` without `}`"),
    ("t = '{:>3}'\nx = t.format(1)", 2, 0, true, "must be a literal"),
    ("x = '{:y}'.format(1)", 1, 0, true, "`y` is no format specification"),
    ("x = '{:>3}'.format([1])", 1, 0, true, "a value of type list cannot be formatted"),
    ("x = 1 < 'a'", 1, 0, true, "not supported"),
];

#[test]
fn what_is_wrong_is_reported_at_its_place() {
    let head = u32::try_from(BASE.lines().count()).expect("few lines");
    for (text, line, column, is_error, message) in WRONG {
        let evaluated = with(text);
        let shown = render_all(&evaluated.diagnostics);
        let matching: Vec<&Diagnostic> = evaluated.diagnostics.iter().filter(|d| d.message.contains(message)).collect();
        let [found] = matching.as_slice() else {
            panic!("{text}: expected one `{message}`:\n{shown}");
        };
        assert_eq!(found.is_error(), *is_error, "{text}: {shown}");
        if *line > 0 {
            assert_eq!(found.place.line, head + line, "{text}: {shown}");
        }
        if *column > 0 {
            assert_eq!(found.place.column, *column, "{text}: {shown}");
        }
    }
}

#[test]
fn late_arguments_arrive() {
    let evaluated = with(
        "f.workdir = 'w'\nb.tags.append('t')\nb.env['A'] = 'b'\nc['workers'].append(worker.Worker('v', 'p'))\n\
         b.workernames.append('v')\nf.addStep(steps.SetProperty('a', 'b'))",
    );
    assert_eq!(render_all(&evaluated.diagnostics), "0 errors");
    let builder = &evaluated.farm.builders[0];
    assert_eq!(builder.worker_names, ["w", "v"]);
    assert_eq!(builder.tags, ["t"]);
    assert_eq!(builder.env["A"].as_str(), Some("b"));
    assert_eq!(builder.factory.steps.len(), 2);
    assert_eq!(builder.factory.workdir.as_ref().and_then(|w| w.as_str()), Some("w"));
}

#[test]
fn a_builder_in_a_dict_is_the_same_as_a_builder_config() {
    let dict = "c['builders'] = [{'name': 'b', 'workername': 'w', 'factory': f, 'tags': ['t']}]";
    let class = "c['builders'] = [util.BuilderConfig(name='b', workername='w', factory=f, tags=['t'])]";
    assert_eq!(with(dict).farm.builders, with(class).farm.builders);
}

#[test]
fn objects_of_loaded_files_do_not_swallow_changes() {
    let mut bundle = crate::source::FarmBundle::single(
        "master.cfg",
        format!("{BASE}load('x.star', 'made')\nmade.tags.append('x')\n"),
    );
    let made = "made = util.BuilderConfig(name='m', workername='w', factory=util.BuildFactory())\n";
    bundle.files.insert("x.star".to_owned(), crate::source::Input::Text(made.to_owned()));
    let evaluated = super::evaluate(bundle, super::tests::limits());
    let shown = render_all(&evaluated.diagnostics);
    assert!(shown.contains("append"), "{shown}");
}

/// Python's own answers; the table was made by Python 3.11.
const FORMATS: &[(&str, &str)] = &[
    ("'{:>3}'.format(1)", "  1"),
    ("'{:03d}|{:.2f}|{:<5}|'.format(2, 3.14159, 'ab')", "002|3.14|ab   |"),
    ("'{:,}'.format(1234567)", "1,234,567"),
    ("'{:x} {:#x} {:X} {:#o} {:b}'.format(255,255,255,8,5)", "ff 0xff FF 0o10 101"),
    ("'{:^7}|'.format('m')", "   m   |"),
    ("'{:+} {: } {:-}'.format(5,5,5)", "+5  5 5"),
    ("'{!r:>4}|{!s:<4}|'.format('q','q')", " \"q\"|q   |"),
    ("'{:*^9}'.format('x')", "****x****"),
    ("'{:.3}'.format('abcdef')", "abc"),
    ("'{:e} {:.1E}'.format(150000.0, 0.00012)", "1.500000e+05 1.2E-04"),
    ("'{:g} {:g} {:g}'.format(100000.0,1000000.0,0.0001)", "100000 1e+06 0.0001"),
    ("'{:.3g} {:.3}'.format(1234.5, 1234.5)", "1.23e+03 1.23e+03"),
    ("'{:%} {:.1%}'.format(0.25,0.256)", "25.000000% 25.6%"),
    ("'{:08.3f}'.format(-3.14159)", "-003.142"),
    ("'{:=+6d}'.format(42)", "+   42"),
    ("'{:_}'.format(1234567)", "1_234_567"),
    ("'{:_x}'.format(1048575)", "f_ffff"),
    ("'{:c}'.format(65)", "A"),
    ("'{:5}|{:5}|'.format(True, False)", "    1|    0|"),
    ("'{0:>{1}}|{0:<{w}}|'.format('x', 3, w=4)", "  x|x   |"),
    ("'{a[k]} {b[1]} {a[k]:>3}'.format(a={'k': 1}, b=[1, 2])", "1 2   1"),
    ("'{{{:d}}}'.format(3)", "{3}"),
    ("'{:,.2f}'.format(1234567.891)", "1,234,567.89"),
    ("'{:10.1f}|'.format(2.25)", "       2.2|"),
    ("'{:>6}'.format(-12)", "   -12"),
    ("'{:06}'.format(-12)", "-00012"),
    ("f'{7:03d} {\"q\"!r:>4} {7:>{4}}'", "007  \"q\"    7"),
    ("f'{1.5:8.2f}|{\"a\" + \"b\":>4}'", "    1.50|  ab"),
    ("f\"{3:02}-{{x}}\"", "03-{x}"),
    ("'{:.0f}'.format(2.5)", "2"),
    ("'{:g}'.format(3)", "3"),
    ("'{:f}'.format(3)", "3.000000"),
    ("'{:5d}|'.format(3)", "    3|"),
    ("'a' '{:>2}'.format(1)", "a 1"),
    ("'{:0>3}'.format(7)", "007"),
];

#[test]
fn formats_are_pythons() {
    for (expression, expected) in FORMATS {
        let text = format!("BuildmasterConfig = {{'multiMaster': True, 'properties': {{'t': {expression}}}}}\n");
        let evaluated = load(&text);
        assert_eq!(render_all(&evaluated.diagnostics), "0 errors", "{expression}");
        assert_eq!(evaluated.farm.properties["t"], *expected, "{expression}");
    }
}
