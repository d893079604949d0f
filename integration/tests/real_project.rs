//! A project of some hundred files, configured, made and tested on both kinds of worker.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use integration::{Balancer, Farm, Repository, TestCluster};
use serde_json::json;

const MODULES: usize = 150;

/// A C program of [`MODULES`] modules with a `configure` script, a makefile that follows dependencies, and tests.
fn write_project(repository: &Repository) -> Result<()> {
    let top = repository.directory();
    for directory in ["src", "include", "tests"] {
        std::fs::create_dir_all(top.join(directory))?;
    }
    let mut main = String::from("#include <stdio.h>\n");
    let mut sum = String::from("int main(void) {\n    long sum = 0;\n");
    for module in 0..MODULES {
        std::fs::write(
            top.join(format!("include/module{module}.h")),
            format!("#ifndef MODULE{module}_H\n#define MODULE{module}_H\nlong module{module}(long value);\n#endif\n"),
        )?;
        std::fs::write(
            top.join(format!("src/module{module}.c")),
            format!(
                "#include \"module{module}.h\"\n\nlong module{module}(long value)\n{{\n    return value * {module} + 1;\n}}\n"
            ),
        )?;
        let _ = writeln!(main, "#include \"module{module}.h\"");
        let _ = writeln!(sum, "    sum += module{module}(2);");
    }
    sum.push_str("    printf(\"%ld\\n\", sum);\n    return 0;\n}\n");
    std::fs::write(top.join("src/main.c"), main + &sum)?;
    let expected: usize = (0..MODULES).map(|module| 2 * module + 1).sum();
    std::fs::write(
        top.join("tests/check.sh"),
        format!(
            "#!/bin/sh\nset -e\ntest \"$(./program)\" = {expected}\necho \"1 of 1 tests passed: the sum is {expected}\"\n"
        ),
    )?;
    std::fs::write(
        top.join("configure"),
        "#!/bin/sh\nset -e\necho \"checking for a C compiler... ${CC:=cc}\"\n\"$CC\" --version | head -n 1\n\
         sed \"s|@CC@|$CC|; s|@PREFIX@|${1#--prefix=}|\" Makefile.in > Makefile\necho \"wrote Makefile\"\n",
    )?;
    std::fs::write(
        top.join("Makefile.in"),
        "CC = @CC@\nPREFIX = @PREFIX@\nOBJECTS = $(patsubst %.c,%.o,$(wildcard src/*.c))\n\n\
         program: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS)\n\n%.o: %.c\n\t$(CC) -Iinclude -O0 -c -o $@ $<\n\n\
         test: program\n\tsh tests/check.sh\n",
    )?;
    repository.commit_all("A program of many modules")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_c_project_is_configured_made_and_tested_on_both_kinds_of_worker() -> Result<()> {
    let mut repository = None;
    let mut cluster = TestCluster::builder()
        .setting("CLUSTER__RESCAN_INTERVAL", "1s")
        .start(|directory| {
            let made = repository.insert(Repository::create(directory, "program")?);
            write_project(made)?;
            let source = format!("steps.Git(repourl={:?}, mode='full', method='clobber')", made.url());
            let steps = [
                source.as_str(),
                "steps.ShellCommand(name='configure', command=['sh', 'configure', util.Interpolate('--prefix=%(prop:builddir)s')], haltOnFailure=True)",
                "steps.ShellCommand(name='compile', command=['make', '-j2', 'program'], haltOnFailure=True)",
                "steps.ShellCommand(name='test', command=['make', 'test'], env={'LC_ALL': 'C'})",
            ];
            Ok(Farm::new()
                .worker("stock")
                .worker("native")
                .builder("on-stock", "stock", &steps)
                .builder("on-native", "native", &steps)
                .text())
        })
        .await?;
    let repository = repository.context("made above")?;
    let ports: Vec<u16> = cluster.masters.iter().map(|master| master.worker_port()).collect();
    let balancer = Balancer::start(&ports).await?;
    // One worker on each master.
    cluster.add_stock_worker(balancer.port(), "stock", "secret")?;
    let native = cluster.add_native_worker(ports[1], "native", "secret")?;
    let rest = cluster.rest()?;
    cluster.worker_connected(&rest, "stock").await?;
    cluster.worker_connected(&rest, "native").await.with_context(|| native.log())?;
    let head = repository.git(&["rev-parse", "HEAD"])?;
    let mut requests = Vec::new();
    for builder in ["on-stock", "on-native"] {
        requests.push((builder, rest.force(builder, json!({"branch": "main"})).await?));
    }
    for (builder, request) in requests {
        let builds = rest.builds_of_completed(request).await.map_err(|error| error.context(cluster.all_logs()))?;
        let build = builds.last().context("a build")?;
        let number = build["buildid"].as_i64().context("an id")?;
        ensure!(build["results"] == json!(0), "{builder}: {build}\n{}", cluster.all_logs());
        let properties = rest.one(&format!("builds/{number}/properties")).await?;
        ensure!(properties["got_revision"][0] == json!(head.trim()), "{builder}: {properties}");
        let test = rest.log(number, "test", "stdio").await?;
        ensure!(test.contains("1 of 1 tests passed"), "{builder}: {test}");
        let compiled = rest.log(number, "compile", "stdio").await?;
        ensure!(compiled.matches(" -c -o ").count() == MODULES + 1, "{builder}: {compiled}");
    }
    Ok(())
}
