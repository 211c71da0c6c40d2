//! What `cost` promises: identities of money and hours, who agrees with whom, what must rise and fall, and one clear line
//! for rubbish.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use assert_cmd::Command;
use common::schema::validator;
use serde_json::Value;

const MODEL: &str = "llama-3.1-8b --gpu h100-sxm";

fn run(arguments: &str) -> std::process::Output {
    let mut command = Command::cargo_bin("foretoken").unwrap();
    command
        .env_clear()
        .env("SOURCE_DATE_EPOCH", "1795219200")
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

fn answer(arguments: &str) -> Value {
    let output = run(&format!("{arguments} --json"));
    assert!(output.status.success(), "{arguments}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn cost(flags: &str) -> Value {
    answer(&format!("cost {MODEL} {flags}"))
}

fn number(value: &Value, pointer: &str) -> f64 {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{pointer} is no number in {value}"))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn find<'a>(list: &'a Value, pairs: &[(&str, &str)]) -> &'a Value {
    let all = list.as_array().unwrap();
    all.iter()
        .find(|v| pairs.iter().all(|(k, w)| v[*k] == *w))
        .unwrap_or_else(|| panic!("{pairs:?} in {list}"))
}

fn of<'a>(answer: &'a Value, situation: &str, basis: &str) -> &'a Value {
    find(&answer["costs"], &[("situation", situation), ("basis", basis)])
}

fn request(answer: &Value, situation: &str, basis: &str) -> f64 {
    number(of(answer, situation, basis), "/usd_per_request")
}

const ALL: &str = "--concurrency 32 --length-ratio-min 0.8 --ttft 500 --tpot 30 --tokens-per-month 40B --replicas 2 \
                   --api-usd-in 0.05 --api-usd-out 0.08 --documents 200k --deadline 3h --duty 0.75";

#[test]
fn answers_keep_their_schema() {
    let validator = validator("cost.json");
    for arguments in [
        format!("cost {MODEL}"),
        format!("cost {MODEL} {ALL}"),
        format!("cost {MODEL} --batch-size 16 --load 0.3 --gpu-hour-usd 0 --api-usd-in 0 --api-usd-out 1"),
        format!("cost {MODEL} --request-rate 3 --requests-per-day 9k --output-len 1 --e2e 1ms"),
        "cost qwen3-30b-a3b --gpu 2xh200-sxm --dp 2 --engine sglang --cloud nebius --spot --prefix-len 500 --documents 7"
            .into(),
        "cost qwen2.5-7b --gpu rtx-4090 --engine llamacpp --quantization q4_k_m --purchase-usd 1600".into(),
        "cost llama-3.1-70b --gpu 8xl40s --tp 4 --pp 2 --interest-rate 0.07 --residual-share 0.1".into(),
    ] {
        let found = answer(&arguments);
        let problems: Vec<String> =
            validator.iter_errors(&found).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(problems.is_empty(), "{arguments}\n{}", problems.join("\n"));
    }
    for format in ["table", "csv", "md", "jsonl"] {
        let output = run(&format!("cost {MODEL} {ALL} --format {format}"));
        assert!(output.status.success() && !output.stdout.is_empty(), "{format}");
    }
}

/// Dollars are accelerators times hours times price, however they are divided.
#[test]
fn dollars_are_hours_times_price() {
    for duty in [1.0, 0.25] {
        let found = cost(&format!("{ALL} --gpu-hour-usd 2.5 --duty {duty}"));
        for s in found["situations"].as_array().unwrap() {
            let c = of(&found, s["situation"].as_str().unwrap(), "rented");
            let [gpus, rate, out] =
                ["/num_gpus", "/requests_per_s", "/output_tokens_per_s"].map(|p| number(s, p));
            assert!(close(number(c, "/usd_per_hour"), gpus * 2.5));
            let kind = s["situation"].as_str().unwrap();
            if kind.starts_with("at_") {
                // Little's law, and limits that nine in ten requests keep
                assert!(number(s, "/mean_in_flight") > rate * number(s, "/ttft_s"));
                assert!(number(s, "/tpot_p90_s") < 0.031 && number(s, "/ttft_p90_s") < 0.51, "{s}");
            }
            // what all requests of a used hour pay is what the hour costs with the unused ones
            assert!(close(number(c, "/usd_per_request") * rate * 3600.0, gpus * 2.5 / duty));
            assert!(close(number(c, "/usd_per_month"), gpus * 2.5 * 730.5));
            let tokens = number(s, "/tokens_per_month");
            let input = tokens / (730.5 * 3600.0 * duty) - out;
            let [a, b] = ["input", "output"].map(|t| number(c, &format!("/usd_per_million_{t}_tokens")));
            assert!(close(1e-6 * (a * input + b * out) * 730.5 * 3600.0 * duty, gpus * 2.5 * 730.5), "{s}");
        }
        let job = &found["job"];
        let hours = number(job, "/duration_s") / 3600.0 * number(job, "/num_gpus");
        assert!(close(number(find(&job["costs"], &[("basis", "rented")]), "/usd"), hours * 2.5 / duty));
        assert!(close(number(job, "/documents_per_s") * number(job, "/duration_s"), 200_000.0));
    }
}

/// What all tokens of a second cost is what the second costs, at the rates that the command reports.
#[test]
fn costs_and_rates_add_up() {
    for question in [
        "estimate llama-3.1-8b --gpu h100-sxm",
        "estimate llama-3.1-8b --gpu h100-sxm --batch-size 32 --duty 0.5",
        "estimate qwen3-30b-a3b --gpu 4xh100-sxm --dp 2 --tp 2 --concurrency 48 --length-ratio-min 0.8",
        "estimate llama-3.1-8b --gpu l40s --request-rate 2 --own",
        "simulate llama-3.1-8b --gpu h100-sxm --concurrency 1 --num-prompts 20",
        "simulate llama-3.1-8b --gpu h100-sxm --request-rate 30 --replicas 3 --preset chat",
    ] {
        let found =
            answer(&format!("{question} --gpu-hour-usd 2").replace("--own --gpu-hour-usd 2", "--own"));
        let [hour, duty, input, output] =
            ["usd_per_hour", "duty", "usd_per_million_input_tokens", "usd_per_million_output_tokens"]
                .map(|key| number(&found["cost"], &format!("/{key}")));
        let [out, all] =
            ["output", "total"].map(|key| number(&found, &format!("/throughput/{key}_tokens_per_s")));
        let second = 1e-6 * (input * (all - out) + output * out);
        if question.contains("--own") {
            assert!(close(second * 3600.0, hour), "{question}");
        } else {
            assert!(close(second * 3600.0 * duty, hour), "{question}: {} {hour}", second * 3600.0 * duty);
        }
    }
    // alone, a loop is what the closed form says
    let of = |command: &str| {
        number(&answer(&format!("{command} {MODEL} --concurrency 1"))["cost"], "/usd_per_request")
    };
    assert!((of("estimate") / of("simulate") - 1.0).abs() < 1e-3);
}

/// The same question through other commands.
#[test]
fn other_commands_agree() {
    for load in
        ["--concurrency 24", "--batch-size 8", "--request-rate 4", "--concurrency 16 --length-ratio-min 0.7"]
    {
        let own = cost(load);
        let estimated = answer(&format!("estimate {MODEL} {load}"));
        let owned = answer(&format!("estimate {MODEL} {load} --own"));
        for (key, tokens) in
            [("input", "/usd_per_million_input_tokens"), ("output", "/usd_per_million_output_tokens")]
        {
            let one = number(of(&own, "as_asked", "rented"), tokens);
            assert!(close(one, number(&estimated["cost"], tokens)), "{load}: {key}");
            let one = number(of(&own, "as_asked", "owned"), tokens);
            assert!(close(one, number(&owned["cost"], tokens)), "{load}: {key} owned");
        }
        if !load.contains("batch") {
            let simulated = answer(&format!("simulate {MODEL} {load}"));
            assert!(close(
                number(&simulated["cost"], "/usd_per_request"),
                request(&own, "as_asked", "rented")
            ));
            assert!(close(
                number(&simulated["energy"], "/joules_per_output_token"),
                number(&estimated["energy"], "/joules_per_output_token")
            ));
        }
    }
    let limits = "--ttft 400 --tpot 25";
    let rate = number(find(&cost(limits)["situations"], &[("situation", "at_slo")]), "/requests_per_s");
    let found = answer(&format!("simulate {MODEL} --request-rate 10 {limits} --find-rate"));
    let highest = number(&found, "/goodput/highest_rate_per_s");
    assert!((rate / highest - 1.0).abs() < 0.02, "{rate} {highest}");
    // a job that is simulated whole is a burst
    let job = number(&cost("--documents 300"), "/job/duration_s");
    assert!(close(job, number(&answer(&format!("simulate {MODEL} --batch-size 300")), "/duration_s")));
}

#[test]
fn the_fuller_the_cheaper() {
    let limits = "--ttft 300 --tpot 15";
    let at = |load: &str| cost(&format!("{limits} --load {load}"));
    let [light, half] = ["0.1", "0.5"].map(at);
    for basis in ["rented", "owned", "electricity"] {
        let [full, slo] = ["saturated", "at_slo"].map(|s| request(&light, s, basis));
        let [a, b] = [&light, &half].map(|v| request(v, "at_your_load", basis));
        assert!(full <= slo && slo <= a && b < a, "{basis}: {full} {slo} {b} {a}");
    }
    // a load's price falls as its share: whole accelerators are paid for
    let [a, b] = [&light, &half].map(|v| request(v, "at_your_load", "rented"));
    assert!((a / b / 5.0 - 1.0).abs() < 1e-6, "{a} {b}");
}

#[test]
fn dearer_is_dearer() {
    let of = |flags: &str, basis: &str| request(&cost(flags), "saturated", basis);
    let usual = ["rented", "owned", "electricity"].map(|basis| of("", basis));
    for (flags, basis, more) in [
        ("--gpu-hour-usd 9", 0, true),
        ("--duty 0.5", 0, true),
        ("--duty 0.5", 1, true),
        ("--pue 2", 1, true),
        ("--pue 2", 2, true),
        ("--pue 1.1", 2, false),
        ("--electricity-usd-per-kwh 0.4", 1, true),
        ("--electricity-usd-per-kwh 0.4", 2, true),
        ("--purchase-usd 20000", 1, false),
        ("--amortization-years 3", 1, true),
        ("--interest-rate 0.08", 1, true),
        ("--residual-share 0.3", 1, false),
        ("--colocation-usd-per-kw-month 0", 1, false),
        ("--server-overhead 0.1", 1, false),
        ("--maintenance-rate 0", 1, false),
        ("--host-power 0.3", 2, false),
    ] {
        let name = ["rented", "owned", "electricity"][basis];
        let found = of(flags, name);
        assert!(if more { found > usual[basis] } else { found < usual[basis] }, "{flags} {name}");
    }
    // electricity is not paid in hours without work
    assert!(close(of("--duty 0.5", "electricity"), usual[2]));
    let found = cost("--electricity-usd-per-kwh 0.1 --pue 1.2 --host-power 0.5");
    let hour = number(find(&found["prices"], &[("price_basis", "electricity")]), "/usd_per_gpu_hour");
    assert!(close(hour, 0.7 * 1.5 * 1.2 * 0.1), "700 W with half as much for the host");
}

/// At the load from which on the deployment is said to be cheaper, both cost the same.
#[test]
fn break_even_is_where_both_cost_the_same() {
    let api = "--api-usd-in 0.1 --api-usd-out 0.3";
    for flags in ["", "--replicas 3", "--tpot 15 --duty 0.5"] {
        let found = cost(&format!("{api} {flags}"));
        for basis in ["rented", "owned"] {
            let even = find(&found["break_even"], &[("basis", basis)]);
            let tokens = number(even, "/from/tokens_per_month").round();
            for (factor, cheaper) in [(1.0, None), (0.999, Some(false)), (1.3, Some(true))] {
                let at = cost(&format!("{api} {flags} --tokens-per-month {}", (tokens * factor).round()));
                let at = find(&at["break_even"], &[("basis", basis)]);
                let [own, other] =
                    ["/at_your_load/usd_per_month", "/at_your_load/api_usd_per_month"].map(|p| number(at, p));
                match cheaper {
                    None => assert!((own / other - 1.0).abs() < 1e-6, "{flags} {basis}: {own} {other}"),
                    Some(cheaper) => assert_eq!(own < other, cheaper, "{flags} {basis} {factor}"),
                }
            }
        }
    }
    let never = cost("--api-usd-in 0.0001 --api-usd-out 0.0001");
    let even = find(&never["break_even"], &[("basis", "rented")]);
    assert!(even["from"].is_null() && number(even, "/full_over_api") > 1.0);
    assert!(never["verdicts"].to_string().contains("Renting never beats the API"));
}

/// The slower the deployment might be, the fewer requests keep the limits and the more replicas a load takes.
#[test]
fn intervals_hold_the_prediction() {
    let found = cost("--tpot 20 --ttft 1s --tokens-per-month 300B");
    for (situation, lowest) in [("as_asked", 0.5), ("saturated", 0.5), ("at_slo", 0.3), ("at_your_load", 0.3)]
    {
        let s = find(&found["situations"], &[("situation", situation)]);
        let [low, high] = [0, 1].map(|i| number(s, &format!("/interval_factors/{i}")));
        assert!(lowest < low && low < 1.0 && 1.0 < high && high < 1.0 / lowest, "{situation}: {low} {high}");
    }
    let yours = find(&found["situations"], &[("situation", "at_your_load")]);
    let [few, many] = [0, 1].map(|i| number(yours, &format!("/replicas_interval/{i}")));
    let replicas = number(yours, "/replicas");
    assert!(few <= replicas && replicas <= many && few < many, "{few} {replicas} {many}");
    // an ideal deployment has none
    let ideal = cost("--tpot 20 --engine ideal");
    let s = find(&ideal["situations"], &[("situation", "at_slo")]);
    assert!([0, 1].iter().all(|i| close(number(s, &format!("/interval_factors/{i}")), 1.0)), "{s}");
}

#[test]
fn accelerators_rented_with_those_used_are_said() {
    let warned = |flags: &str| cost(flags)["warnings"].to_string();
    let text = warned("--cloud oci");
    assert!(text.contains("1 used of 8 paid cost $80.00 an hour, not $10.00"), "{text}");
    assert!(!warned("--cloud oci --num-gpus 8").contains("of 8 paid"));
    let estimated = answer(&format!("estimate {MODEL} --cloud oci --tp 2"));
    assert!(estimated["warnings"].to_string().contains("2 used of 8 paid"));
}

#[test]
fn replicas_are_whole() {
    let capacity = number(&cost(""), "/capacity_requests_per_s");
    for (share, replicas) in [(0.5, 1.0), (0.999, 1.0), (1.01, 2.0), (2.5, 3.0)] {
        let requests = (capacity * share * 86_400.0).round();
        let found = cost(&format!("--requests-per-day {requests}"));
        let yours = find(&found["situations"], &[("situation", "at_your_load")]);
        assert!(close(number(yours, "/replicas"), replicas), "{share}");
        assert!((number(yours, "/load") - share / replicas).abs() < 1e-4, "{share}");
    }
}

#[test]
fn jobs_scale() {
    let of = |flags: &str| cost(&format!("--input-len 2000 --output-len 200 {flags}"));
    let one = of("--documents 1M");
    let four = of("--documents 1M --replicas 4");
    let [a, b] = [&one, &four].map(|v| number(v, "/job/duration_s"));
    assert!(a / b > 3.9 && a / b < 4.01, "{a} {b}");
    // twice the documents cost twice as much but for the ramp
    let twice = number(&of("--documents 2M"), "/job/duration_s");
    assert!((twice / a - 2.0).abs() < 0.01);
    let [low, high] = [0, 1].map(|i| number(&one, &format!("/job/duration_interval_s/{i}")));
    assert!(low < a && a < high);
    // as few as keep the deadline
    let timed = of("--documents 1M --deadline 5h");
    let replicas = number(&timed, "/job/replicas");
    assert!(number(&timed, "/job/duration_s") <= 18_000.0 && timed["job"]["in_time"] == true);
    let fewer = of(&format!("--documents 1M --replicas {}", replicas - 1.0));
    assert!(number(&fewer, "/job/duration_s") > 18_000.0);
    // a prefix that is cached already is not computed again
    assert!(number(&of("--documents 1M --prefix-len 1500"), "/job/duration_s") < 0.8 * a);
    // and the simulator's own rate in the long run
    let rate = number(&one, "/job/documents_per_s");
    let full = number(find(&one["situations"], &[("situation", "saturated")]), "/requests_per_s");
    assert!((rate / full - 1.0).abs() < 0.05, "{rate} {full}");
}

/// Where power was measured, electricity is that of the load, and idle hours draw what idling does.
#[test]
fn measured_power_is_paid() {
    let known =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/calibration/h100-sxm.toml")).unwrap();
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let measured =
        "\n[measured.energy]\nidle_w = 80.0\njoules_per_flop = 0.4e-12\njoules_per_byte = 40e-12\n";
    std::fs::write(file.path(), known + measured).unwrap();
    let found = cost(&format!("--load 0.02 --calibration {}", file.path().display()));
    let hour = |situation: &str| number(of(&found, situation, "electricity"), "/usd_per_gpu_hour");
    // kW with the host, PUE, $/kWh of the defaults
    let usd = |watts: f64| watts * 1.82 / 1000.0 * 1.58 * 0.12;
    let [light, full] = ["at_your_load", "saturated"].map(hour);
    assert!(usd(80.0) < light && light < usd(150.0), "{light}");
    assert!(light < full && full < usd(700.0), "{full}");
    let energy = &find(&found["situations"], &[("situation", "at_your_load")])["energy"];
    assert_eq!(energy["source"], "power measured on the device");
    // nearly all of it is idling: 80 W over the tokens of a second
    let s = find(&found["situations"], &[("situation", "at_your_load")]);
    let watts = number(energy, "/joules_per_output_token") * number(s, "/output_tokens_per_s")
        + number(energy, "/joules_per_input_token") * 1024.0 * number(s, "/requests_per_s");
    assert!(80.0 < watts && watts < 150.0 && (usd(watts) / light - 1.0).abs() < 0.1, "{watts} {light}");
}

#[test]
fn prices_are_named() {
    let found = cost("--cloud Nebius --spot --today 2026-11-21");
    let rented = find(&found["prices"], &[("price_basis", "rented")]);
    assert!(close(number(rented, "/usd_per_gpu_hour"), 1.25));
    assert!(rented["price_source"].as_str().unwrap().contains("Nebius spot"));
    let old = answer("cost llama-3.2-1b --gpu tpu-v5e --today 2026-11-21 --no-calibration --spot");
    let rented = find(&old["prices"], &[("price_basis", "rented")]);
    assert!(rented["price_is_old"] == true && number(rented, "/price_age_days") > 600.0);
    assert!(
        old["warnings"].to_string().contains("from 2024-12-23, 23 months old: check it"),
        "{}",
        old["warnings"]
    );
    let list = tempfile::NamedTempFile::new().unwrap();
    let text = "gpu,cloud,gpus,instance,on_demand_usd_per_gpu_hour,spot_usd_per_gpu_hour,region,source,date\n\
                h100-sxm,Basement,1,,0.75,,home,our contract,2026-11-01\n";
    std::fs::write(list.path(), text).unwrap();
    let own = cost(&format!("--price-list {} --cloud basement --today 2026-11-21", list.path().display()));
    let rented = find(&own["prices"], &[("price_basis", "rented")]);
    assert!(close(number(rented, "/usd_per_gpu_hour"), 0.75) && rented["price_is_old"] == false);
    let own = cost("--own");
    assert!(own["costs"].as_array().unwrap().iter().all(|c| c["basis"] != "rented"));
    let show = answer("gpus show h100-sxm");
    assert!(show["offers"].as_array().unwrap().len() > 10);
}

#[test]
fn check_says_no() {
    for (flags, code) in [
        ("--tpot 30 --check", 0),
        ("--tpot 1ms --check", 3),
        ("--tpot 12 --load 0.99 --check", 3),
        ("--check", 2),
    ] {
        assert_eq!(run(&format!("cost {MODEL} {flags}")).status.code(), Some(code), "{flags}");
    }
}

#[test]
fn rubbish_is_refused_in_a_line() {
    for (flags, word) in [
        ("--gpu-hour-usd -1", "US dollars"),
        ("--gpu-hour-usd NaN", "US dollars"),
        ("--gpu-hour-usd inf", "US dollars"),
        ("--gpu-hour-usd 1 --cloud nebius", "cannot be used with"),
        ("--duty 0", "above 0"),
        ("--duty 1.5", "at most 1"),
        ("--load 0", "above 0"),
        ("--load 2", "at most 1"),
        ("--load 0.3 --tokens-per-month 1M", "cannot be used with"),
        ("--tokens-per-month 0", "at least 1"),
        ("--tokens-per-month -5", "whole number"),
        ("--tokens-per-month 1e99", "whole number"),
        ("--requests-per-day 100000000M", "1,000,000"),
        ("--requests-per-day many", "whole number"),
        ("--documents 0", "at least 1"),
        ("--documents 1e18", "whole number"),
        ("--deadline 8h", "--documents"),
        ("--documents 10 --deadline 8", "unit"),
        ("--documents 10 --deadline soon", "duration"),
        ("--documents 10 --deadline 0h", "above 0"),
        ("--documents 10 --deadline 1ms", "one document alone"),
        ("--documents 1000B --deadline 1min", "replicas"),
        ("--api-usd-in 1", "--api-usd-out"),
        ("--api-usd-in 0 --api-usd-out 0", "both 0"),
        ("--api-usd-in -1 --api-usd-out 1", "US dollars"),
        ("--pue 0.9", "from 1 to 10"),
        ("--pue nan", "from 1 to 10"),
        ("--amortization-years 0", "0.1"),
        ("--residual-share 1", "1"),
        ("--host-power -1", "from 0"),
        ("--cloud nowhere", "no cloud named"),
        ("--cloud verda --spot --replicas 0", "at least 1"),
        ("--replicas 1000000000", "1,000,000"),
        ("--cloud lambda --spot", "spot price of h100-sxm"),
        ("--price-list /nowhere.csv", "/nowhere.csv"),
        ("--today yesterday", "2026-11-21"),
        ("--input-len 200000 --output-len 10", "nothing to price"),
        ("--max-model-len 1000", "nothing to price"),
        ("--gpu l4 --model llama-3.1-8b", "cannot be used with"),
    ] {
        let output = run(&format!("cost {MODEL} {flags}"));
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags}\n{message}");
        assert!(output.stdout.is_empty() && message.contains(word), "{flags}\n{message}");
        let parser = message.contains("For more information, try '--help'.");
        assert!(parser || message.lines().count() == 1, "{flags}\n{message}");
    }
    let large = run("cost llama-3.1-405b --gpu l4");
    assert_eq!(large.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&large.stderr).contains("does not fit on l4"));
    let mut clock = Command::cargo_bin("foretoken").unwrap();
    let clock = clock
        .env_clear()
        .env("SOURCE_DATE_EPOCH", "soon")
        .args(["cost", "llama-3.1-8b", "--gpu", "l4"])
        .output();
    assert!(String::from_utf8_lossy(&clock.unwrap().stderr).contains("SOURCE_DATE_EPOCH=soon"));
}
