//! Traces of every format. The rows are made up, in the form of the public files.

use proptest::prelude::*;
use taskqueue_simulation::{
    FunctionDurations, ReadOptions, Task, TokenTimes, Trace, TraceError, TraceFile, TraceReader,
};

const OWN: &str = "\u{feff}# two tasks, out of order\narrival,duration\n1.5, 2\n\n0.25,0.001\n";
const LLM_2023: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
    2031-01-02 23:59:59.5000000,1000,10\r\n\
    2031-01-03 00:00:00.7500000,0,0";
const LLM_2024: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
    2032-02-29 00:00:00+00:00,500,1\n\
    2032-02-29 00:00:00.250500+00:00,50,2\n";
const BURST_GPT: &str = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
    7,ChatGPT,100,10,110,Conversation log\n\
    9,GPT-4,300,0,300,API log\n\
    12.5,GPT-4,200,20,220,API log\n";
const LATER_BURST_GPT: &str = "Timestamp,Session ID,Elapsed time,Model,Request tokens,\
    Response tokens,Total tokens,Log Type\n\
    900000.0,00000000-aaaa-4bbb-8ccc-dddddddddddd,4,GPT-4,100,10,110,Conversation log\n\
    900001.0,,,ChatGPT,100,10,110,API log\n";
const FUNCTIONS_2021: &str = "app,func,end_timestamp,duration\n\
    a1,f1,2.5,3.0\n\
    a1,f2,10.25,0.25\n\
    b2,f1,4.000001,0.0\n";
const ALIBABA: &str = "M1,3,j_1,1,Terminated,100,160,100,0.5\n\
    R2_1,1,j_1,1,Terminated,90,0,100,0.5\n\
    task_abc,1,j_2,2,Failed,95,99,50,0.25\n\
    M1,1,j_3,1,Waiting,,,50,0.25\n\
    M1,1,j_4,1,Terminated,80,80,50,0.25\n";

const DURATIONS: &str = "HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,\
    percentile_Average_0,percentile_Average_1,percentile_Average_25,percentile_Average_50,\
    percentile_Average_75,percentile_Average_99,percentile_Average_100\n\
    o1,a1,f1,100,50,-1,,100,100,100,100,100,100,100\n\
    o1,a1,f1,900,10,0,0,900,900,900,900,900,900,900\n\
    o1,a1,f2,200,5,1,5000,0,100,200.5,300,400,1000,5000\n";

/// Three minutes of three functions, of which one has two rows and one has no durations.
const FUNCTIONS_2019: &str = "HashOwner,HashApp,HashFunction,Trigger,1,2,3\n\
    o1,a1,f1,http,2,0,1\n\
    o1,a1,f2,queue,0,3,0\n\
    o1,a1,f1,timer,0,0,4\n\
    o2,b2,f3,others,0,5,0\n";

fn read(text: &str, options: ReadOptions) -> Result<TraceFile, TraceError> {
    let mut reader = TraceReader::new(options);
    for line in text.split_inclusive('\n') {
        reader.line(line)?;
    }
    reader.finish("mine")
}

fn durations(text: &str) -> Result<FunctionDurations, TraceError> {
    let mut durations = FunctionDurations::default();
    for line in text.lines() {
        durations.line(line)?;
    }
    Ok(durations)
}

fn functions(function: Option<&str>) -> ReadOptions {
    ReadOptions {
        function: function.map(str::to_owned),
        durations: Some(durations(DURATIONS).unwrap()),
        ..ReadOptions::default()
    }
}

fn tasks(all: &[(u64, u64)]) -> Vec<Task> {
    let task = |(arrives, takes): &(u64, u64)| Task {
        arrives: *arrives,
        takes: *takes,
    };
    all.iter().map(task).collect()
}

fn file(about: &str, all: &[(u64, u64)], notes: &[&str]) -> TraceFile {
    TraceFile {
        trace: Trace::new("mine", about, tasks(all)),
        notes: notes.iter().map(|note| (*note).to_owned()).collect(),
    }
}

const TOKENS: &str = "durations follow from the tokens: 50 ms, 0.2 ms per token of context, \
    30 ms per generated token";

#[test]
fn each_format_is_recognised_by_its_first_line_and_read() {
    let cases = [
        (
            OWN,
            file(
                "2 tasks from a file of arrivals and durations",
                &[(250, 1), (1_500, 2_000)],
                &[],
            ),
        ),
        (
            "5,1\n2e3,0\n",
            file(
                "2 tasks from a file of arrivals and durations",
                &[(5_000, 1_000), (2_000_000, 1)],
                &[],
            ),
        ),
        (
            "2000000000.5,1.5\n2000000000,1.5\n2000000000.75,1.5\n",
            file(
                "3 tasks from a file of arrivals and durations",
                &[(0, 1_500), (500, 1_500), (750, 1_500)],
                &[],
            ),
        ),
        (
            LLM_2023,
            file(
                "2 tasks from the Azure LLM inference dataset",
                &[(0, 550), (1_250, 50)],
                &[TOKENS],
            ),
        ),
        (
            LLM_2024,
            file(
                "2 tasks from the Azure LLM inference dataset",
                &[(0, 180), (250, 120)],
                &[TOKENS],
            ),
        ),
        (
            BURST_GPT,
            file(
                "2 tasks from BurstGPT",
                &[(0, 370), (5_500, 690)],
                &[
                    TOKENS,
                    "left out: 1 requests that failed, by their 0 response tokens",
                ],
            ),
        ),
        (
            LATER_BURST_GPT,
            file("2 tasks from BurstGPT", &[(0, 4_000), (1_000, 370)], &[]),
        ),
        (
            FUNCTIONS_2021,
            file(
                "3 tasks from the Azure Functions trace of 2021",
                &[(0, 3_000), (4_499, 1), (10_500, 250)],
                &[],
            ),
        ),
        (
            ALIBABA,
            file(
                "2 tasks from the Alibaba cluster trace of 2018",
                &[(80_000, 1), (100_000, 60_000)],
                &[
                    "left out: 1 tasks that end before they start",
                    "left out: 2 tasks that have not terminated",
                ],
            ),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text, ReadOptions::default()), Ok(expected), "{text}");
    }
}

#[test]
fn the_times_of_tokens_can_be_chosen() {
    let options = ReadOptions {
        token_times: Some("0, 1.5,2".parse().unwrap()),
        ..ReadOptions::default()
    };
    let note = "durations follow from the tokens: 0 ms, 1.5 ms per token of context, 2 ms per \
                generated token";
    let expected = file(
        "2 tasks from the Azure LLM inference dataset",
        &[(0, 752), (250, 79)],
        &[note],
    );
    assert_eq!(read(LLM_2024, options), Ok(expected));
    assert_eq!("50,0.2,30".parse(), Ok(TokenTimes::default()));
    for wrong in [
        "", "1,2", "1,2,3,4", "1,2,x", "1,2,-3", "1,2,NaN", "1,2,1e9",
    ] {
        assert!(wrong.parse::<TokenTimes>().is_err(), "{wrong}");
    }
}

#[test]
fn the_invocations_of_a_minute_lie_within_it_and_last_as_the_percentiles_say() {
    let one = read(FUNCTIONS_2019, functions(Some("f1"))).unwrap();
    let expected = [
        (35_471, 100),
        (44_948, 100),
        (138_695, 100),
        (140_797, 100),
        (155_738, 100),
        (163_581, 100),
        (165_925, 100),
    ];
    let note = "the invocations of a minute are spread at random over it, and their durations \
                drawn from the percentiles";
    let about = "7 tasks from the Azure Functions trace of 2019";
    assert_eq!(one, file(about, &expected, &[note]));

    let all = read(FUNCTIONS_2019, functions(None)).unwrap();
    assert_eq!(
        all.notes,
        [
            note,
            "left out: 5 invocations of functions without durations"
        ]
    );
    let minutes = |minute: u64| {
        let arrived = all.trace.tasks.iter().map(|task| task.arrives / 60_000);
        arrived.filter(|at| *at == minute).count()
    };
    assert_eq!([0, 1, 2].map(minutes), [2, 3, 5]);

    // A quarter of the durations lies between two percentiles that are a quarter apart.
    let many = FUNCTIONS_2019.replace("queue,0,3,0", "queue,0,40000,0");
    let many = read(&many, functions(Some("a1/f2"))).unwrap();
    let up_to = |most: u64| {
        let takes = many.trace.tasks.iter().map(|task| task.takes);
        // In percent, rounded; the standard deviation is at most a quarter of one.
        (takes.filter(|takes| *takes <= most).count() + 200) / 400
    };
    let shares = [100, 200, 300, 400, 1_000, 5_000].map(up_to);
    assert_eq!(shares, [1, 25, 50, 75, 99, 100]);
}

#[test]
fn a_function_is_chosen_by_the_beginning_of_its_name() {
    let chosen = |text: &str, mut options: ReadOptions, name: &str| {
        options.function = Some(name.to_owned());
        let read = read(text, options).map(|read| read.trace.tasks.len());
        read.map_err(|error| error.to_string())
    };
    let plain = ReadOptions::default;
    let refused = |text: &str| Err(text.to_owned());
    assert_eq!(chosen(FUNCTIONS_2021, plain(), "f2"), Ok(1));
    assert_eq!(chosen(FUNCTIONS_2021, plain(), "b/f"), Ok(1));
    assert_eq!(
        chosen(FUNCTIONS_2021, plain(), "f1"),
        refused("a1/f1 and b2/f1 both begin with \"f1\"; give more of the name, or APP/FUNCTION")
    );
    assert_eq!(
        chosen(FUNCTIONS_2021, plain(), "a1/f3"),
        refused("no function of the trace begins with \"a1/f3\"; choose another with --function")
    );
    assert_eq!(chosen(FUNCTIONS_2019, functions(None), "a1/f2"), Ok(3));
    assert_eq!(
        chosen(FUNCTIONS_2019, functions(None), "f3"),
        refused("the durations do not contain b2/f3; choose another function with --function")
    );
}

#[test]
fn a_window_is_taken_out_of_the_trace() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
        2031-01-01 00:00:10,0,0\n\
        2031-01-01 00:00:05,0,0\n\
        2031-01-01 00:01:09.999,0,0\n\
        2031-01-01 00:01:10,0,0\n\
        2031-01-01 00:02:10,0,0\n";
    let window = |text: &str, from: Option<u64>, length: Option<u64>| {
        let options = ReadOptions {
            from,
            length,
            ..ReadOptions::default()
        };
        let tasks = read(text, options)?.trace.tasks;
        Ok(tasks.iter().map(|task| task.arrives).collect::<Vec<_>>())
    };
    let cases = [
        (None, None, Ok(vec![0, 5_000, 64_999, 65_000, 125_000])),
        (None, Some(60_000), Ok(vec![0, 5_000, 64_999])),
        (Some(0), None, Ok(vec![0, 59_999, 60_000, 120_000])),
        (Some(60_000), Some(60_000), Ok(vec![0])),
        (Some(60_000), Some(60_001), Ok(vec![0, 60_000])),
        (Some(59_000), None, Ok(vec![999, 1_000, 61_000])),
        (Some(900_000), None, Err(TraceError::NoneChosen)),
    ];
    for (from, length, expected) in cases {
        assert_eq!(window(text, from, length), expected, "{from:?} {length:?}");
    }
    // Arrivals half a second before the trace, and 4 and 10 s after its beginning.
    assert_eq!(
        window(FUNCTIONS_2021, Some(0), Some(10_000)),
        Ok(vec![3_999])
    );
    assert_eq!(window(ALIBABA, Some(90_000), None), Ok(vec![10_000]));
    assert_eq!(window(BURST_GPT, Some(5_500), None), Ok(vec![0]));
    assert_eq!(window(OWN, Some(1_000), None), Ok(vec![500]));
    let options = ReadOptions {
        from: Some(120_000),
        length: Some(60_000),
        ..functions(Some("f1"))
    };
    let last = read(FUNCTIONS_2019, options).unwrap().trace.tasks;
    let within = last.iter().filter(|task| task.arrives < 60_000).count();
    assert_eq!((last.len(), within), (5, 5));
}

#[test]
fn a_sample_has_its_share_of_the_tasks_and_is_the_same_in_each_run() {
    let rows: Vec<String> = (0..100_000).map(|at| format!("{at},1")).collect();
    let rows = rows.join("\n");
    let sampled = |text: &str, sample: u32, options: ReadOptions| {
        let options = ReadOptions { sample, ..options };
        read(text, options).unwrap()
    };
    let sample = sampled(&rows, 10, ReadOptions::default());
    assert_eq!(sample, sampled(&rows, 10, ReadOptions::default()));
    assert_eq!(sample.notes, ["one task in 10, chosen at random"]);
    // 10,000 ± 3 standard deviations, which are 95 here and 100 below.
    let count = sample.trace.tasks.len();
    assert!((9_715..=10_285).contains(&count), "{count}");
    let many = FUNCTIONS_2019.replace("queue,0,3,0", "queue,0,4000000,0");
    let count = sampled(&many, 400, functions(Some("f2"))).trace.tasks.len();
    assert!((9_700..=10_300).contains(&count), "{count}");
}

#[test]
fn too_many_tasks_are_refused_with_the_ways_out() {
    let limited = |text: &str, options: ReadOptions| {
        let options = ReadOptions {
            limit: 2,
            ..options
        };
        read(text, options).map(|read| read.trace.tasks.len())
    };
    let refused = Err(TraceError::TooMany { limit: 2 });
    assert_eq!(limited(LLM_2023, ReadOptions::default()), Ok(2));
    assert_eq!(limited(FUNCTIONS_2021, ReadOptions::default()), refused);
    assert_eq!(limited(FUNCTIONS_2019, functions(None)), refused);
    let endless = FUNCTIONS_2019.replace("queue,0,3,0", "queue,0,4294967295,0");
    assert_eq!(limited(&endless, functions(Some("f2"))), refused);
}

#[test]
fn what_does_not_fit_is_refused_with_the_line_the_column_and_the_remedy() {
    let row = |header: &str, row: &str| format!("{header}\n# made up\n{row}\n");
    let own = |text: &str| row("arrival,duration", text);
    let llm = |text: &str| row("TIMESTAMP,ContextTokens,GeneratedTokens", text);
    let burst = |text: &str| {
        row(
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
            text,
        )
    };
    let functions_2021 = |text: &str| row("app,func,end_timestamp,duration", text);
    let functions_2019 = |text: &str| row("HashOwner,HashApp,HashFunction,Trigger,1,2", text);
    let plain = ReadOptions::default;
    let cases = [
        (String::new(), plain()),
        ("# nothing\n".to_owned(), plain()),
        (own(""), plain()),
        (own("soon,2"), plain()),
        (own("1,-2"), plain()),
        (own("NaN,2"), plain()),
        (own("1e11,2"), plain()),
        (own("1"), plain()),
        (own("1,2,3"), plain()),
        ("1o,2\n".to_owned(), plain()),
        ("at,took\n1,2\n".to_owned(), plain()),
        (
            "time,user,model,cost,a column with a long name,and another".to_owned(),
            plain(),
        ),
        (DURATIONS.to_owned(), plain()),
        (llm("2031-01-01,1,1"), plain()),
        (llm("2031-01-01 00:00:00,1.5,1"), plain()),
        (llm("2031-01-01 00:00:00,1,-1"), plain()),
        (llm("2031-01-01 00:00:00,1"), plain()),
        (burst("1,GPT-4,x,1,1,API log"), plain()),
        (burst("1,GPT-4,1,,1,API log"), plain()),
        (burst("1,GPT-4,1,0,1,API log"), plain()),
        (LATER_BURST_GPT.replace(",4,GPT-4", ",-4,GPT-4"), plain()),
        (functions_2021("a,f,then,1"), plain()),
        (functions_2021("a,f,1,inf"), plain()),
        (functions_2021("a,f"), plain()),
        (functions_2019("o,a1,f1,http,1,2"), plain()),
        (functions_2019("o,a1,f1,http,1"), functions(None)),
        (functions_2019("o,a1,f1"), functions(None)),
        (functions_2019("o,a1,f1,http,1,x"), functions(None)),
        (functions_2019("o,a1,f1,http,1,2,3"), functions(None)),
        (ALIBABA.replace("100,160", "100,x"), plain()),
        (ALIBABA.replace("80,80", ",80"), plain()),
        (OWN.to_owned(), functions(None)),
        (FUNCTIONS_2021.to_owned(), functions(None)),
        (
            FUNCTIONS_2021.to_owned(),
            ReadOptions {
                token_times: Some(TokenTimes::default()),
                ..plain()
            },
        ),
    ];
    let refused = cases.map(|(text, options)| match read(&text, options) {
        Err(error) => error.to_string(),
        Ok(read) => panic!("{text}\nis read as {read:?}"),
    });
    insta::assert_snapshot!("refused", refused.join("\n"));
}

#[test]
fn durations_that_do_not_fit_are_refused_with_the_line_and_the_column() {
    let refused = [
        FUNCTIONS_2019.to_owned(),
        DURATIONS.replace("o1,a1,f2,200,5", "o1,a1,f2,200,5.5"),
        DURATIONS.replace("200.5,300", "200.5,-300"),
        DURATIONS.replace("400,1000,5000", "400,1000"),
        DURATIONS.replace("400,1000,5000", "400,1000,5000,1"),
    ]
    .map(|text| durations(&text).expect_err(&text).to_string());
    insta::assert_snapshot!("refused_durations", refused.join("\n"));
}

/// Everything that a field of some format may contain, and what none may.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,12}",
        "-?[0-9]{0,4}\\.?[0-9]{0,9}(e[0-9]{1,3})?",
        "20[0-9]{2}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,9})?(\\+00:00)?",
        "a1|f1|f2|Terminated|NaN|inf|GPT-4",
        "\\PC{0,8}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        which in 0..8_usize,
        rows in proptest::collection::vec(proptest::collection::vec(field(), 0..10), 0..8),
        from in proptest::option::of(any::<u64>()),
        length in proptest::option::of(any::<u64>()),
        sample in 0..4_u32,
    ) {
        let headers = [
            OWN, LLM_2023, BURST_GPT, LATER_BURST_GPT, FUNCTIONS_2021, FUNCTIONS_2019, ALIBABA, "",
        ];
        let options = ReadOptions {
            from,
            length,
            sample,
            limit: 50,
            ..if which == 5 { functions(None) } else { ReadOptions::default() }
        };
        let mut text = headers[which].lines().take(2).collect::<Vec<_>>().join("\n");
        for row in &rows {
            text.push('\n');
            text.push_str(&row.join(","));
        }
        let read = read(&text, options);
        prop_assert!(read.is_err() || read.is_ok_and(|read| read.trace.tasks.len() <= 50));
        let table: String = rows.iter().map(|row| row.join(",") + "\n").collect();
        let header = DURATIONS.lines().next().unwrap_or_default();
        let read = durations(&format!("{header}\n{table}"));
        prop_assert!(read.is_ok() || !rows.is_empty());
    }

    #[test]
    fn what_is_written_is_read(
        all in proptest::collection::vec((0..900_000_000_u64, 1..900_000_000_u64), 1..20),
    ) {
        let seconds = |millis: u64| format!("{}.{:03}", millis / 1000, millis % 1000);
        let row = |(arrives, takes): &(u64, u64)| {
            format!("{},{}\n", seconds(*arrives), seconds(*takes))
        };
        let text: String = all.iter().map(row).collect();
        let about = format!("{} tasks from a file of arrivals and durations", all.len());
        prop_assert_eq!(read(&text, ReadOptions::default()), Ok(file(&about, &all, &[])));
    }

    #[test]
    fn two_windows_side_by_side_have_all_tasks(
        all in proptest::collection::vec(0..100_000_u64, 1..30),
        cut in 1..100_000_u64,
    ) {
        let row = |at: &u64| format!("app,f,{}.{:03},0.001\n", 1 + at / 1000, at % 1000);
        let rows: String = all.iter().map(row).collect();
        let text = format!("app,func,end_timestamp,duration\n{rows}");
        let count = |from: Option<u64>, length: Option<u64>| {
            let options = ReadOptions { from, length, ..ReadOptions::default() };
            match read(&text, options) {
                Ok(read) => read.trace.tasks.len(),
                Err(_) => 0,
            }
        };
        prop_assert_eq!(count(None, Some(cut)) + count(Some(cut), None), all.len());
    }
}
