use super::*;
use proptest::prelude::*;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

type Tested = Result<(), Box<dyn std::error::Error>>;

#[test]
fn canonical_text() -> Tested {
    let cases = [
        ("0", "0"),
        ("-0", "0"),
        ("-0.000e-99", "0"),
        ("0e999999999999999999999", "0"),
        ("1.0", "1"),
        ("10e-1", "1"),
        ("1E+0", "1"),
        ("-12.50", "-12.5"),
        ("1200e-2", "12"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("-0.00000012", "-1.2e-7"),
        ("100000000000000000000", "100000000000000000000"),
        ("1000000000000000000000", "1e+21"),
        ("123456789012345678901", "123456789012345678901"),
        ("1234567890123456789012", "1.234567890123456789012e+21"),
        ("123456789012345678901.5", "123456789012345678901.5"),
        ("1e4096", "1e+4096"),
        ("0.0001e-4092", "1e-4096"),
        ("333333333.33333329", "333333333.33333329"),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<Decimal>()?.to_string(), expected, "{text}");
    }
    Ok(())
}

/// RFC 8785, appendix B: what a double prints is its own canonical text
#[test]
fn agrees_with_ecmascript() {
    let samples = [
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (1.0000000000000001e23, "1.0000000000000001e+23"),
        (999999999999999700000.0, "999999999999999700000"),
        (999999999999999900000.0, "999999999999999900000"),
        (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (0.000001, "0.000001"),
        (333333333.3333332, "333333333.3333332"),
        (-0.0000033333333333333333, "-0.0000033333333333333333"),
    ];
    for (double, text) in samples {
        let shortest = Decimal::parse(&format!("{double:e}"));
        assert_eq!(shortest.map(|d| d.to_string()).as_deref(), Some(text));
        assert_eq!(Decimal::parse(text).map(|d| d.to_f64()), Some(double));
    }
}

#[test]
fn refuses_what_is_no_json_number() {
    let cases = [
        "", "-", "+1", "01", "-01", "00", "1.", ".5", "1.e1", "1e", "1e+", "1e1.5", "1_000", " 1", "1 ", "0x1", "NaN",
        "Infinity", "--1", "1e--1", "1,5", "١", "1\0", "1e1e1", "1.2.3",
    ];
    for text in cases {
        assert_eq!(Decimal::parse(text), None, "{text:?}");
    }
}

#[test]
fn bounds_are_on_the_number() {
    let digits = "1".repeat(64);
    assert!(Decimal::parse(&digits).is_some());
    assert!(Decimal::parse(&format!("{digits}000.000")).is_some());
    assert!(Decimal::parse(&format!("0.000{digits}")).is_some());
    assert_eq!(Decimal::parse(&format!("{digits}1")), None);
    assert_eq!(Decimal::parse(&format!("{digits}.01")), None);

    for beyond in ["1e4097", "10e4096", "1e-4097", "0.1e-4096", "1e99999999999999999999", "-1e-9223372036854775808"] {
        assert_eq!(Decimal::parse(beyond), None, "{beyond}");
    }
    let zeros = "0".repeat(5000);
    assert_eq!(Decimal::parse(&format!("1{zeros}")), None);
    assert_eq!(Decimal::parse(&format!("1{zeros}e-5000")), Decimal::parse("1"));
    assert_eq!(Decimal::parse(&format!("0.{zeros}1e5001")), Decimal::parse("1"));
}

#[test]
fn integers_are_exact_or_absent() {
    let number = |text| Decimal::parse(text);
    assert_eq!(number("9007199254740993").and_then(|d| d.to_i64()), Some(9007199254740993));
    assert_eq!(number("-9223372036854775808").and_then(|d| d.to_i64()), Some(i64::MIN));
    assert_eq!(number("9223372036854775808").and_then(|d| d.to_i64()), None);
    assert_eq!(number("18446744073709551615").and_then(|d| d.to_u64()), Some(u64::MAX));
    assert_eq!(number("18446744073709551616").and_then(|d| d.to_u64()), None);
    assert_eq!(number("-1").and_then(|d| d.to_u64()), None);
    assert_eq!(number("1.5").and_then(|d| d.to_i64()), None);
    assert_eq!(number("0.1").and_then(|d| d.to_i64()), None);
    assert_eq!(number("5e-1").and_then(|d| d.to_i64()), None);
    assert_eq!(number("1e4096").and_then(|d| d.to_i64()), None);
    assert_eq!(number("1.5e1").and_then(|d| d.to_i64()), Some(15));
    assert_eq!(number("-0").and_then(|d| d.to_u64()), Some(0));
    assert_eq!(number("1e4096").map(|d| d.to_f64()), Some(f64::MAX));
    assert_eq!(number("-1e4096").map(|d| d.to_f64()), Some(f64::MIN));
}

#[test]
fn order_of_a_sorted_list() -> Tested {
    let sorted = [
        "-1e4096", "-1000", "-12", "-1.5", "-1", "-0.1", "-1e-4096", "0", "1e-4096", "0.09", "0.1", "0.11", "1",
        "1.01", "1.1", "2", "9.99", "10", "99", "100", "100.10", "1e21", "1e4096",
    ];
    let sorted = sorted.iter().map(|text| text.parse()).collect::<Result<Vec<Decimal>, _>>()?;
    assert!(sorted.is_sorted_by(|left, right| left < right));
    Ok(())
}

#[test]
fn serde_is_a_string() -> Tested {
    let number: Decimal = "100.10".parse()?;
    assert_eq!(serde_json::to_string(&number)?, r#""100.1""#);
    assert_eq!(serde_json::from_str::<Decimal>(r#""100.10""#)?, number);
    assert!(serde_json::from_str::<Decimal>("100.10").is_err());
    assert!(serde_json::from_str::<Decimal>(r#""1e99999""#).is_err());
    Ok(())
}

fn hash(number: &Decimal) -> u64 {
    let mut hasher = DefaultHasher::new();
    number.hash(&mut hasher);
    hasher.finish()
}

/// A mantissa and an exponent, and several spellings of the number that they mean
fn spelled() -> impl Strategy<Value = (i128, String)> {
    let mantissa = prop_oneof![-20i64..20, -100_000i64..100_000, any::<i64>()];
    (mantissa, -8i32..8, 0usize..4, 0usize..3).prop_map(|(mantissa, exponent, zeros, way)| {
        let scaled = i128::from(mantissa) * 10i128.pow((exponent + 8).unsigned_abs());
        let zeros = if mantissa == 0 { 0 } else { zeros };
        let padded = format!("{mantissa}{}", "0".repeat(zeros));
        let shift = exponent - i32::try_from(zeros).unwrap_or_default();
        let text = match way {
            0 => format!("{padded}e{shift}"),
            1 => format!("{padded}.{}E{shift:+}", "0".repeat(zeros + 1)),
            _ => {
                let (sign, scaled) = (if scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
                format!("{sign}{}.{:08}", scaled / 10u128.pow(8), scaled % 10u128.pow(8))
            }
        };
        (scaled, text)
    })
}

proptest! {
    #[test]
    fn compares_as_scaled_integers((left, left_text) in spelled(), (right, right_text) in spelled()) {
        let (one, two): (Decimal, Decimal) = (left_text.parse()?, right_text.parse()?);
        prop_assert_eq!(one.cmp(&two), left.cmp(&right), "{} {}", left_text, right_text);
        prop_assert_eq!(one == two, left == right);
        if left == right {
            prop_assert_eq!(hash(&one), hash(&two));
            prop_assert_eq!(one.to_string(), two.to_string());
        }
    }

    #[test]
    fn one_number_has_one_text((scaled, text) in spelled()) {
        let number: Decimal = text.parse()?;
        let same: Decimal = format!("{scaled}e-8").parse()?;
        prop_assert_eq!(hash(&number), hash(&same));
        prop_assert_eq!(number.to_string(), same.to_string());
        prop_assert_eq!(number, same);
    }

    #[test]
    fn display_reads_back(text in "-?(0|[1-9][0-9]{0,31})(\\.[0-9]{1,31})?([eE][+-]?[0-9]{1,3})?") {
        let number: Decimal = text.parse()?;
        let shown = number.to_string();
        let again: Decimal = shown.parse()?;
        prop_assert_eq!(&again, &number);
        prop_assert_eq!(again.to_string(), shown);
    }

    #[test]
    fn any_text_is_safe(text in "[-+0-9.eE]{0,12}|\\PC{0,8}") {
        // What is accepted is a number to std as well.
        if Decimal::parse(&text).is_some() {
            prop_assert!(text.parse::<f64>().is_ok());
        }
    }

    #[test]
    fn integers_round_trip(signed in any::<i64>(), unsigned in any::<u64>()) {
        prop_assert_eq!(Decimal::from(signed).to_i64(), Some(signed));
        prop_assert_eq!(Decimal::from(unsigned).to_u64(), Some(unsigned));
        prop_assert_eq!(Decimal::from(signed).to_string(), signed.to_string());
    }
}
