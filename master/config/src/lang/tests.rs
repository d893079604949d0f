//! Whole configs, in this process.

use crate::diagnostic::render_all;
use crate::source::FarmBundle;

use super::load::Evaluated;
use super::{Limits, evaluate};

/// Limits that no test reaches.
pub(super) fn limits() -> Limits {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    Limits { deadline, heap_bytes: 256 * 1024 * 1024 }
}

/// Evaluates a config of one file.
pub(super) fn load(text: &str) -> Evaluated {
    evaluate(FarmBundle::single("master.cfg", text), limits())
}

/// The stock sample, as `buildbot create-master` writes it.
const STOCK: &str = r#"# -*- python -*-
# ex: set filetype=python:

from buildbot.plugins import *

c = BuildmasterConfig = {}
c['workers'] = [worker.Worker("example-worker", "pass")]
c['protocols'] = {'pb': {'port': 9989}}
c['change_source'] = []
c['change_source'].append(changes.GitPoller(
        'https://github.com/buildbot/hello-world.git',
        workdir='gitpoller-workdir', branch='master',
        pollInterval=300))
c['schedulers'] = []
c['schedulers'].append(schedulers.SingleBranchScheduler(
                            name="all",
                            change_filter=util.ChangeFilter(branch='master'),
                            treeStableTimer=None,
                            builderNames=["runtests"]))
c['schedulers'].append(schedulers.ForceScheduler(
                            name="force",
                            builderNames=["runtests"]))
factory = util.BuildFactory()
# check out the source
factory.addStep(steps.Git(repourl='https://github.com/buildbot/hello-world.git', mode='incremental'))
factory.addStep(steps.ShellCommand(command=["trial", "hello"],
                                   env={"PYTHONPATH": "."}))
c['builders'] = []
c['builders'].append(
    util.BuilderConfig(name="runtests",
      workernames=["example-worker"],
      factory=factory))
c['services'] = []
c['title'] = "Hello World CI"
c['titleURL'] = "https://buildbot.github.io/hello-world/"
c['buildbotURL'] = "http://localhost:8010/"
c['www'] = dict(port=8010,
                plugins=dict(waterfall_view={}, console_view={}, grid_view={}))
c['db'] = {
    'db_url' : "sqlite:///state.sqlite",
}
"#;

#[test]
fn a_config_like_the_stock_sample_loads() {
    let evaluated = load(STOCK);
    assert_eq!(render_all(&evaluated.diagnostics), "0 errors");
    assert!(evaluated.program.is_some());
    insta::assert_snapshot!(serde_json::to_string_pretty(&evaluated.farm).expect("JSON"));
}

/// Many errors, each of which must be found in one go.
const ERRORS: &str = r#"from buildbot.plugins import *
import requests

c = BuildmasterConfig = {}
c['workers'] = [
    worker.Worker("w1", "pass", max_bilds=2),
    worker.Worker("w1", "pass"),
    worker.Worker("9 lives", "pass"),
    worker.Worker("w4"),
    worker.DockerLatentWorker("d", "pass", image="x"),
]
f = util.BuildFactory([
    steps.ShellCommand(command=["make"], timeout="long"),
    steps.ShelCommand(command="x"),
    steps.Git(repourl="x", mode="ful"),
    steps.ShellCommand(command=util.Interpolate("%(prop:x"), haltOnFailur=True),
    "make",
])
c['builders'] = [
    util.BuilderConfig(name="b1", workernames=["w2"], factory=f),
    util.BuilderConfig(name="b1", workername="w1", factory=f, project="p"),
    util.BuilderConfig(name="_b", workername="w1", factory=f, tags=["a", "a"]),
    util.BuilderConfig(name="lonely", workername="w1"),
]
c['schedulers'] = [
    schedulers.AnyBranchScheduler(name="s", builderNames=["b2", "_b"], treeStableTimer=-1),
    schedulers.SingleBranchScheduler("t", ["b1"], change_filter=util.ChangeFilter(branch_re="(")),
]
x = 1 + "a"
y = undefined_name
def helper(n):
    return n["missing"]
helper({})
c['buildrs'] = []
c['logCompressionMethod'] = 'zip'
c['www'] = {'prt': 8010}
c['title'] = 3
"#;

#[test]
fn all_errors_are_reported_at_once() {
    let evaluated = load(&ERRORS.replace("import requests\n", "\n"));
    insta::assert_snapshot!(render_all(&evaluated.diagnostics));
}

#[test]
fn python_that_starlark_has_not_is_named() {
    let evaluated = load(ERRORS);
    insta::assert_snapshot!(render_all(&evaluated.diagnostics));
}

/// What people write in Python and Starlark has not, with the value that `t` must have.
const PYTHON: &[(&str, &str)] = &[
    ("a = b = c = [1]\nt = a + b + c", "[1, 1, 1]"),
    ("x = None\nt = [x is None, x is not None, 'is not' is 'x']", "[True, False, False]"),
    ("t = 'a' 'b'\\\n  \"c\"", "abc"),
    ("t = ('a %s'\n  ' b') % 1", "a 1 b"),
    ("t = 'a' 'b'.upper()", "AB"),
    ("n = 3\nd = {'k': 'v'}\nt = f'{n} {d[\"k\"]} {n + 1}' u'!' b'?'", "3 v 4!?"),
    (
        "def twice(f):\n    return lambda x: f(f(x))\n@twice\ndef g(x):\n    y = x + 1 # one\n    return y # more\n\nt = g(1)",
        "3",
    ),
    ("@str\ndef g(x): return x\nt = type(g)", "string"),
    ("async def g(x):\n\treturn x\n\nt = g(1_000)", "1000"),
    ("from buildbot.process.results import SUCCESS, FAILURE as F\nt = [SUCCESS, F, WARNINGS]", "[0, 2, 1]"),
    (
        "from buildbot.process.properties import (\n    Interpolate,\n    Property as P)\nt = [type(Interpolate('x')), type(P('y'))]",
        "[\"object\", \"object\"]",
    ),
    ("import os\nt = os.path.join('a', 'b') + os.path.basename('c/d')", "a/bd"),
    ("if True:\n    from buildbot.plugins import *\n    t = 1\nelse:\n    t = 2", "1"),
    ("def f(x: int, *, y: str = 'a') -> str:\n    return y * x\nt = f(2, y='b')", "bb"),
    ("t = {k: v for k, v in [('a', 1)]}", "{\"a\": 1}"),
    ("t = sum([1, 2]) + len([x for x in range(3) if isinstance(x, int)])", "6"),
    ("t = '%(a)s-%(b)d' % {'a': 'x', 'b': 2}", "x-2"),
    ("t = '{a}-{0}'.format(1, a=2)", "2-1"),
    ("x = [1]\nx += [2]\nx.extend([3])\nt = x", "[1, 2, 3]"),
    ("d = {'a': 1}\nd.update({'b': 2})\nt = sorted(d.items(), key=lambda p: -p[1])", "[(\"b\", 2), (\"a\", 1)]"),
    ("t = basedir + __file__", ".master.cfg"),
    ("t = 1 if True and not False else 2", "1"),
    ("t = [i for i, x in enumerate(zip([1], [2]))]", "[0]"),
    ("t = '%s %r' % ('a', 'b')", "a \"b\""),
    ("t = set([1, 2]) | set([2])", "set([1, 2])"),
    ("x = 5\nif x > 3: t = 'big'\nelse: t = 'small'", "big"),
    ("t = ('a' +\n     'b')", "ab"),
    ("t = 0o17 + 0x1f", "46"),
    ("t = 'x'.join(['%d' % i for i in range(3) if i % 2 == 0])", "0x2"),
    (
        "def f(*args, **kwargs):\n    return (args, sorted(kwargs.items()))\nt = f(1, a=3, *[2], **{'b': 4})",
        "((1, 2), [(\"a\", 3), (\"b\", 4)])",
    ),
    ("t = getattr(struct(a=1), 'a', 2)", "1"),
    ("t = 'a' in 'abc' and 'x' not in ['y']", "True"),
    ("t = 7 // 2, 7 % 2, 7 / 2", "(3, 1, 3.5)"),
    ("t = max([1, 2]), min(3, 4), abs(-1), any([0, 1]), all([])", "(2, 3, 1, True, True)"),
    ("t = 'abc'[-1] + 'abc'[:2] + 'a-b'.split('-')[1]", "cabb"),
    ("t = [{1, 2}, {x for x in [3]}, {'a': 1}, {}]", "[set([1, 2]), set([3]), {\"a\": 1}, {}]"),
    ("t = '%(a)s' '%%%(b)s' % {'a': 1, 'b': [2]}", "1%[2]"),
    (
        "t = 'b%02d|%5s|%-5s|%.2f|%+d|%#x|%3d%%|%i|%5.1f' % (7, 'a', 'b', 1.5, 3, 255, 50, 2.9, 2)",
        "b07|    a|b    |1.50|+3|0xff| 50%|2|  2.0",
    ),
    ("t = ['w%03d' % i for i in [9, 10]], '%*d|%.2s|%c' % (4, 1, 'abc', 'z')", "([\"w009\", \"w010\"], \"   1|ab|z\")"),
    ("t = '%(n)03d %(s)6r' % {'n': -5, 's': 'x'}", "-05    \"x\""),
    ("t = 'a,b'.split(',')[0].capitalize().rstrip('x').title()", "A"),
    ("try_ = 1\nclass_ = 2\nt = try_ + class_", "3"),
    (
        "a = b = 1 == 1\nt = [a, b, 2 > 1 and not 3 <= 2, [x for x in [1, 2] if x != 1], {'k': 1 < 2}]",
        "[True, True, True, [2], {\"k\": True}]",
    ),
    ("t = 'a' + 'b' == 'ab' if 1 is not None else 0", "True"),
    ("t = sorted([3, 1], key=lambda x: x == 3), (lambda v: v >= 2)(2)", "([1, 3], True)"),
    ("x = 1\nif x == 1: t = ('%s' % x) == '1'", "True"),
];

#[test]
fn python_is_understood() {
    for (text, expected) in PYTHON {
        let text = format!("{text}\nBuildmasterConfig = {{'multiMaster': True, 'properties': {{'t': str(t)}}}}\n");
        let evaluated = load(&text);
        assert_eq!(render_all(&evaluated.diagnostics), "0 errors", "{text}");
        assert_eq!(evaluated.farm.properties["t"], *expected, "{text}");
    }
}

#[test]
fn places_survive_the_translation() {
    for (text, line, column) in [
        ("a = b = 1; x = nope", 1, 16),
        ("s = 'a' f'{1}' 'b' + nope", 1, 22),
        ("@str\ndef f(x): return x\nif f is not None: nope", 3, 19),
        ("import os\nx = '\u{e4}' 'b' + nope", 2, 15),
    ] {
        let evaluated = load(text);
        let first = &evaluated.diagnostics[0];
        assert_eq!((first.place.line, first.place.column), (line, column), "{text}\n{}", first.render());
        assert_eq!(first.message, "the name `nope` is not defined");
    }
}

#[test]
fn later_errors_are_not_hidden_by_earlier_ones() {
    let text = "c = BuildmasterConfig = {}\nx = fail('one')\nfor i in [1]:\n    y = i['two']\nelse_ = x + y\n\
                c['workers'] = [worker.Worker(x, 'p'), worker.Worker('a', y)]\nz = undefined + 1\nfail('three')\n\
                c['builders'] = z\nc['bilders'] = 1\n";
    let evaluated = load(text);
    insta::assert_snapshot!(render_all(&evaluated.diagnostics));
}

mod properties {
    use proptest::prelude::*;

    use super::load;
    use crate::lang::translate::translate;

    /// Text that looks a little like a config.
    fn python() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "c",
            "=",
            "==",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "'a'",
            "\"b\"",
            "f'{c}'",
            "f'{",
            "'",
            "\"\"\"",
            "\n",
            "\n    ",
            "\t",
            "#x",
            "\\",
            "@",
            "def f(x):",
            "return",
            "is",
            "not",
            "import",
            "from",
            "buildbot",
            "as",
            "async",
            "await",
            ",",
            ".",
            ":",
            ";",
            "1",
            "1_0",
            "**",
            "lambda x:",
            "for x in",
            "if",
            "else:",
            "util.Interpolate",
            "\u{e4}",
            "%",
            "BuildmasterConfig",
            "worker.Worker",
            "load('x', 'y')",
            "\r\n",
        ]);
        prop::collection::vec(word, 0..40).prop_map(|words| words.join(" "))
    }

    proptest! {
        #[test]
        fn any_text_is_translated_and_places_stay_inside(text in prop_oneof![python(), any::<String>()]) {
            let (file, problems) = translate("x", &text);
            for problem in problems {
                prop_assert!(problem.offset <= text.len());
            }
            let mut last = 0;
            for offset in 0..=file.translated.len() {
                let original = file.original_offset(offset);
                prop_assert!(original <= text.len());
                prop_assert!(original >= last, "places go back");
                last = original;
                let place = file.place(original);
                prop_assert!(place.line >= 1 && place.column >= 1);
            }
        }

        #[test]
        fn any_text_is_evaluated_without_a_panic(text in python()) {
            let evaluated = load(&text);
            for diagnostic in evaluated.diagnostics {
                let _ = diagnostic.render();
            }
        }
    }
}
