//! Names of months, as `%b` and `%B` write them in the locales that logs come in.
//!
//! Not every locale can be read: Croatian calls June what Polish calls July. Of names that mean two months in two of the
//! languages here, none is in the table; a test holds it to that.

/// The names of each month in lower case and without dots: English first, then whatever other languages call it.
const NAMES: [&[&str]; 12] = [
    &[
        "jan",
        "january",
        "janv",
        "janvier",
        "ene",
        "enero",
        "gen",
        "gennaio",
        "jänner",
        "januar",
        "januari",
        "led",
        "sty",
        "ian",
        "oca",
        "янв",
        "января",
        "січ",
        "яну",
        "јан",
        "ιαν",
        "tammi",
        "1月",
        "1월",
    ],
    &[
        "feb",
        "february",
        "fév",
        "févr",
        "février",
        "febr",
        "febbraio",
        "febrero",
        "fev",
        "februar",
        "februari",
        "úno",
        "lut",
        "şub",
        "фев",
        "февраля",
        "лют",
        "феб",
        "φεβ",
        "helmi",
        "2月",
        "2월",
    ],
    &[
        "mar",
        "march",
        "mars",
        "mär",
        "märz",
        "mrz",
        "mrt",
        "maart",
        "marzo",
        "márc",
        "bře",
        "март",
        "мар",
        "марта",
        "бер",
        "μαρ",
        "maalis",
        "3月",
        "3월",
    ],
    &[
        "apr",
        "april",
        "avr",
        "avril",
        "abr",
        "abril",
        "aprile",
        "ápr",
        "dub",
        "kwi",
        "nis",
        "апр",
        "апреля",
        "кві",
        "απρ",
        "huhti",
        "4月",
        "4월",
    ],
    &[
        "may", "mai", "mei", "maj", "mag", "maggio", "mayo", "máj", "kvě", "май", "мая", "мај", "тра", "μαι", "μάι",
        "μαΐ", "touko", "5月", "5월",
    ],
    &[
        "jun", "june", "juin", "juni", "junio", "giu", "giugno", "jún", "čen", "cze", "iun", "haz", "июн", "июня",
        "юни", "јун", "чер", "ιουν", "kesä", "6月", "6월",
    ],
    &[
        "jul", "july", "juil", "juillet", "juli", "julio", "lug", "luglio", "júl", "čec", "lip", "iul", "tem", "июл",
        "июля", "юли", "јул", "лип", "ιουλ", "heinä", "7月", "7월",
    ],
    &[
        "aug",
        "august",
        "août",
        "aou",
        "ago",
        "agosto",
        "augustus",
        "augusti",
        "srp",
        "sie",
        "ağu",
        "авг",
        "августа",
        "сер",
        "αυγ",
        "elo",
        "8月",
        "8월",
    ],
    &[
        "sep",
        "sept",
        "september",
        "septembre",
        "septiembre",
        "settembre",
        "set",
        "szept",
        "zář",
        "wrz",
        "eyl",
        "сен",
        "сент",
        "сентября",
        "сеп",
        "вер",
        "σεπ",
        "syys",
        "9月",
        "9월",
    ],
    &[
        "oct",
        "october",
        "octobre",
        "okt",
        "oktober",
        "out",
        "ott",
        "ottobre",
        "octubre",
        "říj",
        "paź",
        "eki",
        "окт",
        "октября",
        "жов",
        "οκτ",
        "loka",
        "10月",
        "10월",
    ],
    &[
        "nov",
        "november",
        "novembre",
        "noviembre",
        "lis",
        "noi",
        "kas",
        "ноя",
        "нояб",
        "ноября",
        "нов",
        "ное",
        "лис",
        "νοε",
        "marras",
        "11月",
        "11월",
    ],
    &[
        "dec",
        "december",
        "déc",
        "décembre",
        "dic",
        "diciembre",
        "dicembre",
        "dez",
        "dezember",
        "des",
        "pro",
        "gru",
        "ara",
        "дек",
        "декабря",
        "дец",
        "гру",
        "δεκ",
        "joulu",
        "12月",
        "12월",
    ],
];

/// The longest name, in bytes.
const MONTH_BYTES_MAX: usize = 24;

/// The month, 1 to 12, that one of its English abbreviations names, as syslog writes it.
#[inline]
pub(super) fn english(name: &[u8]) -> Option<i8> {
    const NAMES: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    (1..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, _)| number)
}

/// The month, 1 to 12, that `name` means in any of the languages, with or without a dot behind it.
pub(super) fn of(name: &str) -> Option<i8> {
    if name.len() > MONTH_BYTES_MAX {
        return None;
    }
    if let Some(month) = english(name.as_bytes()) {
        return Some(month);
    }
    let name = name.trim_end_matches('.').to_lowercase();
    (1..).zip(NAMES).find(|(_, names)| names.contains(&name.as_str())).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_one_month_and_is_spelled_as_it_is_looked_up() {
        for (number, names) in (1i8..).zip(NAMES) {
            for name in names {
                assert_eq!(of(name), Some(number), "{name}");
                assert!(name.len() <= MONTH_BYTES_MAX && *name == name.to_lowercase(), "{name}");
            }
        }
    }

    #[test]
    fn names_are_read_in_any_case_and_with_a_dot() {
        assert_eq!(english(b"Sep"), Some(9));
        assert_eq!((english(b"sep"), of("SEP"), of("sept."), of("Сен")), (None, Some(9), Some(9), Some(9)));
        assert_eq!((of("Mär"), of("DÉC."), of("12月")), (Some(3), Some(12), Some(12)));
        for name in ["", ".", "Foo", "mayor", "13月", &"x".repeat(MONTH_BYTES_MAX + 1)] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
