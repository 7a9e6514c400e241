//! Durations that a threshold can be dragged to: two significant digits, and coarser steps for the keyboard.

/// Ten units of the second digit: mantissas are `10..100`.
const MANTISSA_END: u64 = 100;

/// `ns` with two significant digits, at least 1.
#[must_use]
pub fn rounded(ns: f64) -> u64 {
    if !ns.is_finite() || ns < 1.0 {
        return 1;
    }
    let unit = 10_f64.powf((ns.log10().floor() - 1.0).max(0.0));
    // At most a few hundred years, so it fits.
    ((ns / unit).round() * unit) as u64
}

/// The next duration above `ns`, or below it, in steps of 5 to 10 %; at least 1.
#[must_use]
pub fn stepped(ns: u64, is_up: bool) -> u64 {
    let (mut mantissa, mut unit) = (ns.max(1), 1);
    while mantissa >= MANTISSA_END {
        mantissa /= 10;
        unit *= 10;
    }
    // What the division cut off.
    let is_exact = mantissa * unit == ns;
    let step_at = |mantissa: u64| match mantissa {
        ..20 => 1,
        20..50 => 2,
        _ => 5,
    };
    if is_up {
        let step = step_at(mantissa);
        (mantissa / step + 1).saturating_mul(step).saturating_mul(unit)
    } else if !is_exact {
        mantissa * unit
    } else if mantissa == 10 && unit >= 10 {
        // The next lower unit has ten times as many steps.
        95 * (unit / 10)
    } else {
        let step = step_at(mantissa - 1);
        ((mantissa - 1) / step * step * unit).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dragged_threshold_has_two_digits() {
        let cases =
            [(0.0, 1), (-5.0, 1), (f64::NAN, 1), (1.4, 1), (9.6, 10), (12_345.0, 12_000), (9_990_000.0, 10_000_000)];
        for (ns, expected) in cases {
            assert_eq!(rounded(ns), expected, "{ns}");
        }
    }

    #[test]
    fn the_keyboard_walks_through_round_durations_in_both_directions() {
        let mut up = vec![1_u64];
        while up.last().is_some_and(|&last| last < 2_000) {
            up.extend(up.last().map(|&last| stepped(last, true)));
        }
        assert!(up.ends_with(&[900, 950, 1_000, 1_100, 1_200, 1_300, 1_400, 1_500, 1_600, 1_700, 1_800, 1_900, 2_000]));
        for pair in up.windows(2) {
            assert_eq!(stepped(pair[1], false), pair[0], "below {}", pair[1]);
        }
        assert_eq!((stepped(1, false), stepped(0, true)), (1, 2));
        assert_eq!((stepped(1_234_567, true), stepped(1_234_567, false)), (1_300_000, 1_200_000));
        assert_eq!(stepped(u64::MAX, true), u64::MAX);
    }
}
