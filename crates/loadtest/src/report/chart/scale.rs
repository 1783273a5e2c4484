//! Where a value lies along an axis, and which round values are marked there.

/// A range of values laid out along an axis.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// Even steps from `from` to `to`.
    pub fn linear(from: f64, to: f64) -> Self {
        let from = if from.is_finite() { from } else { 0.0 };
        let to = if to.is_finite() && to > from { to } else { from + 1.0 };
        Self { from, to, log: false }
    }

    /// Even steps of the exponent; both ends are above zero.
    pub fn log(from: f64, to: f64) -> Self {
        let from = if from.is_finite() && from > 0.0 { from } else { 1.0 };
        let to = if to.is_finite() && to > from { to } else { from * 10.0 };
        Self { from, to, log: true }
    }

    /// From zero to the first round number that leaves a little room above `max`.
    pub fn counting(max: f64) -> Self {
        let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
        let step = nice_step(max * 1.02 / 5.0);
        Self::linear(0.0, (max * 1.02 / step).ceil() * step)
    }

    /// A log scale over `values` that begins and ends at 1, 2 or 5 times a power of ten.
    pub fn spanning(values: impl IntoIterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.into_iter().filter(|value| value.is_finite() && *value > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            return Self::log(1.0, 10.0);
        }
        let steps = round_numbers(low / 10.0, high * 10.0);
        let from = steps.iter().copied().rfind(|step| *step <= low).unwrap_or(low);
        let to = steps.iter().copied().find(|step| *step >= high && *step > from);
        Self::log(from, to.unwrap_or(high))
    }

    /// Where `value` lies, 0 at the beginning and 1 at the end; values outside go to the near end.
    pub fn place(self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// About `count` round values to mark.
    pub fn ticks(self, count: f64) -> Vec<f64> {
        if self.log {
            return self.log_ticks(count);
        }
        let step = nice_step((self.to - self.from) / count.max(1.0));
        let mut ticks = Vec::new();
        let mut at = (self.from / step - 1e-9).ceil();
        while at * step <= self.to + step * 1e-9 && ticks.len() < 100 {
            // Adding zero turns the -0 of a rounded-up fraction into 0.
            ticks.push(at * step + 0.0);
            at += 1.0;
        }
        ticks
    }

    fn log_ticks(self, count: f64) -> Vec<f64> {
        let inside = |v: &f64| *v >= self.from * 0.999_999 && *v <= self.to * 1.000_001;
        let all: Vec<f64> = round_numbers(self.from, self.to).into_iter().filter(inside).collect();
        let decades: Vec<f64> = all.iter().copied().filter(|v| is_decade(*v)).collect();
        if all.len() as f64 <= count * 1.7 || decades.len() < 2 { all } else { decades }
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice_step(least: f64) -> f64 {
    if !least.is_finite() || least <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0].into_iter().find(|f| f * power >= least * 0.999_999);
    round.unwrap_or(10.0) * power
}

/// Every 1, 2 and 5 times a power of ten of the decades that `from` to `to` touches, ascending.
fn round_numbers(from: f64, to: f64) -> Vec<f64> {
    let mut out = Vec::new();
    let mut exponent = from.log10().floor();
    while exponent <= to.log10().ceil() && out.len() < 300 {
        out.extend([1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powf(exponent)));
        exponent += 1.0;
    }
    out
}

fn is_decade(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-6
}

/// An axis: its scale, and what stands at which value.
#[derive(Clone, Debug)]
pub struct Axis {
    /// From where to where.
    pub scale: Scale,
    /// The marks, each with its label.
    pub marks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis with about `count` marks, labelled by `label`.
    pub fn new(scale: Scale, count: f64, label: fn(f64) -> String) -> Self {
        let marks = scale.ticks(count).into_iter().map(|value| (value, label(value))).collect();
        Self { scale, marks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: &[f64], right: &[f64]) {
        assert_eq!(left.len(), right.len(), "{left:?} {right:?}");
        for (l, r) in left.iter().zip(right) {
            assert!((l - r).abs() <= r.abs() * 1e-9 + 1e-12, "{left:?} {right:?}");
        }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        close(&Scale::linear(0.0, 30.0).ticks(6.0), &[0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        close(&Scale::linear(-0.5, 0.5).ticks(4.0), &[-0.5, -0.25, 0.0, 0.25, 0.5]);
        close(&Scale::log(0.5, 20.0).ticks(5.0), &[0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
        close(&Scale::log(0.1, 1e4).ticks(5.0), &[0.1, 1.0, 10.0, 100.0, 1e3, 1e4]);
        close(&Scale::counting(4_152.0).ticks(5.0), &[0.0, 1e3, 2e3, 3e3, 4e3, 5e3]);
    }

    #[test]
    fn scales_take_anything() {
        let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300];
        for a in odd {
            for b in odd {
                for scale in [Scale::linear(a, b), Scale::log(a, b), Scale::counting(a)] {
                    for value in odd {
                        let place = scale.place(value);
                        assert!((0.0..=1.0).contains(&place), "{scale:?} {value}");
                    }
                    assert!(scale.ticks(5.0).len() <= 300);
                }
                let _ = Scale::spanning([a, b]).ticks(5.0);
            }
        }
    }

    #[test]
    fn a_log_scale_spans_its_values_with_round_ends() {
        let scale = Scale::spanning([0.7, 33.0, 0.0]);
        assert!((scale.place(0.5)).abs() < 1e-9 && (scale.place(50.0) - 1.0).abs() < 1e-9);
        assert!((Scale::log(1.0, 100.0).place(10.0) - 0.5).abs() < 1e-9);
    }
}
