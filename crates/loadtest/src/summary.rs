//! Figures over all runs: the median, and how far the runs were apart.

use crate::report::series::seats_taken;
use crate::report::{Latency, Operation, Run, Sale, Summary};

/// The figures of a session, in a fixed order with fixed names: scripts read them by name.
pub fn over(runs: &[Run]) -> Vec<Summary> {
    let mut names: Vec<&str> = Vec::new();
    for operation in runs.iter().flat_map(|run| &run.operations) {
        if !names.contains(&operation.name.as_str()) {
            names.push(&operation.name);
        }
    }
    let mut figures = Vec::new();
    let sales: Vec<&Sale> = runs.iter().filter_map(|run| run.sale.as_ref()).collect();
    if !sales.is_empty() && sales.iter().all(|sale| sale.is_sold_out()) {
        let after = sales.iter().map(|sale| sale.seconds).collect();
        figures.extend(figure("sold out after".to_owned(), "s", after));
    }
    let first_second = sales.iter().map(|sale| sale.first_second()).collect();
    figures.extend(figure("sold in first second".to_owned(), "share", first_second));
    for name in names {
        let of_all: Vec<&Operation> = runs
            .iter()
            .flat_map(|run| run.operations.iter().filter(|operation| operation.name == name))
            .collect();
        figures.extend(of_operation(name, &of_all));
    }
    let mut client = |name: &str, unit, of: &dyn Fn(&Run) -> f64| {
        figures.extend(figure(name.to_owned(), unit, runs.iter().map(of).collect()));
    };
    client("client cpu", "share", &|run| run.client.cpu_share);
    client("client cpu per request", "us", &|run| run.client.cpu_us_per_request);
    figures
}

fn of_operation(name: &str, of_all: &[&Operation]) -> Vec<Summary> {
    let mut figures = Vec::new();
    let mut add = |what: &str, unit, of: &dyn Fn(&Operation) -> f64| {
        let values = of_all.iter().map(|operation| of(operation)).collect();
        figures.extend(figure(format!("{name} {what}"), unit, values));
    };
    let is_any = |of: fn(&Operation) -> &Latency| of_all.iter().any(|it| of(it).count > 0);
    add("accepted/s", "1/s", &|it| it.accepted_per_second);
    add("answered/s", "1/s", &|it| it.answered_per_second);
    if is_any(|it| &it.accepted) {
        add("p50", "ms", &|it| it.accepted.p50_ms);
        add("p90", "ms", &|it| it.accepted.p90_ms);
        add("p95", "ms", &|it| it.accepted.p95_ms);
        add("p99", "ms", &|it| it.accepted.p99_ms);
        add("p99.9", "ms", &|it| it.accepted.p999_ms);
        add("max", "ms", &|it| it.accepted.max_ms);
    }
    if is_any(|it| &it.refused) {
        add("refused p50", "ms", &|it| it.refused.p50_ms);
        add("refused p90", "ms", &|it| it.refused.p90_ms);
        add("refused p95", "ms", &|it| it.refused.p95_ms);
        add("refused p99", "ms", &|it| it.refused.p99_ms);
        add("refused p99.9", "ms", &|it| it.refused.p999_ms);
        add("refused max", "ms", &|it| it.refused.max_ms);
    }
    if of_all.iter().any(|it| seats_taken(it).is_some()) {
        add("taken", "share", &|it| seats_taken(it).unwrap_or(0) as f64 / it.sent.max(1) as f64);
    }
    figures
}

fn figure(name: String, unit: &str, mut values: Vec<f64>) -> Option<Summary> {
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    Some(Summary { name, unit: unit.to_owned(), median, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        let of = |values: &[f64]| {
            let figure = figure("x".to_owned(), "ms", values.to_vec()).unwrap();
            (figure.median, figure.min, figure.max)
        };
        assert_eq!(of(&[3.0, 1.0, 9.0]), (3.0, 1.0, 9.0));
        assert_eq!(of(&[4.0, 1.0, 9.0, 2.0]), (3.0, 1.0, 9.0));
        assert_eq!(figure("x".to_owned(), "ms", Vec::new()).map(|it| it.median), None);
    }
}
