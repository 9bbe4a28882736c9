//! Notations that look alike and mean different things. What is not understood must not be equal to anything else.

use didact_reward::answer::verify;

fn check(right: &[(&str, &str)], wrong: &[(&str, &str)]) {
    let boxed = |found: &str| format!(r"\boxed{{{found}}}");
    for (expected, found) in right {
        assert!(
            verify(expected, &boxed(found)).equal,
            "{expected} ~ {found}"
        );
    }
    for (expected, found) in wrong {
        assert!(
            !verify(expected, &boxed(found)).equal,
            "{expected} ~ {found}"
        );
    }
}

#[test]
fn unknown_commands_are_no_factors() {
    check(
        &[
            (r"x\equiv3\pmod{5}", r"x \equiv 3 \pmod 5"),
            (r"A \subset B", r"A\subset B"),
            (r"\int x^2 dx", r"\int x^2\,dx"),
            (r"\vec{a}\times\vec{b}", r"\vec a \times \vec b"),
            (r"{5\choose2}", "10"),
            ("10", r"{5 \choose 2}"),
            (r"\alpha\beta", r"\beta \alpha"),
            (r"\frac{1+x}{2}", r"{1+x \over 2}"),
            (r"\mathcal{F}+1", r"1+\mathcal{F}"),
        ],
        &[
            (r"x\equiv3\pmod5", r"x\equiv5\pmod3"),
            (r"A\subset B", r"B\subset A"),
            (r"p\to q", r"q\to p"),
            (r"p\wedge\neg q", r"\neg p\wedge q"),
            (r"p\land q", r"p\lor q"),
            (r"\int x^2dx", r"x\int xdx"),
            (r"\int\frac{1}{23}", r"\int\frac{12}{3}"),
            (r"\max\{\frac{1}{12},3\}", r"\max\{\frac{11}{2},3\}"),
            (r"{5\choose2}", r"{2\choose5}"),
            ("[1,2]", r"x\not\in[1,2]"),
            ("[1,2]", r"x\notin[1,2]"),
            ("5", r"x\not=5"),
            (r"\angle ABC", r"\angle BAC"),
            (r"\vec a\times\vec b", r"\vec b\times\vec a"),
            (r"\vec a\times\vec b", r"\vec a\cdot\vec b"),
            ("A^{-1}B", "BA^{-1}"),
        ],
    );
}

#[test]
fn what_an_equation_defines_need_not_be_read() {
    check(
        &[
            ("0.3", "P(X=2)=0.3"),
            (r"\frac13", r"P(A|B)=\frac13"),
            (r"\frac13", r"\int_0^1 x^2\,dx=\frac13"),
            ("6", r"\gcd(12,18)=6"),
            ("6", "f(1,2)=6"),
            ("6", r"\sum_{k=1}^3 k=6"),
        ],
        &[
            ("0.3", "P(X=2)=0.03"),
            ("3", r"x\equiv 2 = 3"),
            ("P(X=2)=0.3", "P(X=3)=0.3"),
        ],
    );
}

#[test]
fn a_run_of_superscripts_is_one_exponent() {
    check(
        &[
            ("1024", "2¹⁰"),
            ("10^{12}", "10¹²"),
            ("10^{-3}", "10⁻³"),
            ("x^{12}", "x¹²"),
            (r"5\text{ m}^2", "5 m²"),
            ("x_1+x_2", "x₁ + x₂"),
        ],
        &[
            ("10", "10¹²"),
            ("2", "2¹⁰"),
            ("10^{-3}", "10⁻²"),
            ("x^2", "x₂"),
        ],
    );
}

#[test]
fn calls_and_derivatives_are_no_products() {
    check(
        &[
            ("f(x+1)", "f(1+x)"),
            ("f(x)+g(x)", "g(x)+f(x)"),
            (r"\frac{dy}{dx}", r"\frac{dy}{dx}"),
            (r"\frac{h(a+b)}{2}", r"\frac12(a+b)h"),
            ("P(1+r)^n", "P(r+1)^n"),
            ("np(1-p)", "np-np^2"),
            (r"f \circ g", r"f\circ g"),
            (r"\sin 30^\circ", r"\frac12"),
            (r"30^{\circ}", "30°"),
        ],
        &[
            (r"\frac{dy}{dx}", r"\frac{y}{x}"),
            ("dy/dx", "y/x"),
            (r"\frac{\partial f}{\partial x}", r"\frac{f}{x}"),
            ("f(x+y)", "f(x)+f(y)"),
            ("f(2x)", "2f(x)"),
            ("g(2x+2)", "2g(x+1)"),
            ("f(g(x))", "g(f(x))"),
            ("P(A)+P(B)", "P(A+B)"),
            ("f^{-1}(x)", r"\frac{x}{f}"),
            ("f", r"f\circ g"),
            (r"f\circ g", r"g\circ f"),
        ],
    );
}

#[test]
fn no_answer_is_written_for_the_points() {
    check(
        &[
            (r"\sin^2 x+\cos^2 x", "1"),
            ("n(n-1)", r"\frac{n!}{(n-2)!}"),
            (r"\binom{n}{k}", r"\binom{n}{n-k}"),
        ],
        &[
            ("x", r"x+\sin(97\pi x)"),
            ("x", r"x\cos(194\pi x)"),
            ("x^2+1", r"x^2+\cos(194\pi x)"),
            ("xe^{0}", r"xe^{\sin(97\pi x)}"),
            ("x", r"x\cos(2\pi x)+x!-x!"),
            ("x", r"\lceil 97x\rceil/97"),
        ],
    );
}

#[test]
fn signs_of_one_expression_are_independent() {
    check(
        &[
            (r"\pm1\pm\sqrt2", r"1+\sqrt2,1-\sqrt2,-1+\sqrt2,-1-\sqrt2"),
            (r"(\pm 1, 0)", "(1,0),(-1,0)"),
            (r"\pm 1, \pm 2", "1,-1,2,-2"),
            (r"1 \pm x \mp y", "1+x-y, 1-x+y"),
        ],
        &[
            (r"\pm1\pm\sqrt2", r"1+\sqrt2,-1-\sqrt2"),
            (r"\pm1\pm\sqrt2", r"\pm(1+\sqrt2)"),
        ],
    );
}

#[test]
fn small_numbers_agree_in_their_digits() {
    check(
        &[
            (r"6.626\times10^{-34}", "6.626e-34"),
            (r"\frac13", "0.333333"),
            (r"\frac{1}{60}", "0.0166667"),
            (r"\frac{1}{60}", "0.016667"),
            ("0.5", "0.5000004"),
            ("6.626e-34", "6.62607e-34"),
        ],
        &[
            ("6.626e-34", "6.627e-34"),
            ("6.626e-34", r"6.63\times10^{-34}"),
            (r"1.602\times10^{-19}", "1.603e-19"),
            (r"\frac13", "0.3333"),
        ],
    );
}

#[test]
fn dots_are_part_of_an_answer() {
    check(
        &[
            (r"\frac13", "0.333..."),
            (r"\frac16", r"0.1666\ldots"),
            (r"1,2,3,\ldots", "1, 2, 3, ..."),
            ("5", "5."),
        ],
        &[
            ("1,2,3", "1,2,3,..."),
            (r"\{1,2,3\}", r"\{1,2,3,...\}"),
            (r"\{1,2,3\}", r"\{1,2,3,\ldots\}"),
            ("0.333", "0.333..."),
            ("0.99", "0.99..."),
        ],
    );
}

#[test]
fn ratios_times_and_dates() {
    check(
        &[
            ("3:2", "6:4"),
            ("3:2", r"\frac32"),
            ("1:2:3", "2:4:6"),
            (r"\frac12:1:\frac32", "1:2:3"),
            ("6:30", "06:30"),
        ],
        &[
            ("3:2", "3:2:1"),
            ("1:2:3", "1:6"),
            ("1:2:3", "1:3:2"),
            ("1:2:3", r"\frac16"),
            ("6:30", "1:05"),
            ("12:20", "3:05"),
            ("12:20", "6:10"),
            ("6:30", r"\frac15"),
            ("1/2/2003", "2/4/2003"),
        ],
    );
}

#[test]
fn braces_digits_and_bases() {
    check(
        &[
            (r"\{5\}", "5"),
            (r"\frac{3}{11}", r"\frac3{11}"),
            (r"\frac12", r"\frac 1 2"),
            (r"50\%", "50"),
            ("150", r"150\%"),
        ],
        &[
            (r"\{-3,0,5\}", r"\{\{-3\},0,5\}"),
            (r"\frac{3}{11}", r"\frac311"),
            ("1,450", r"1450\%"),
            ("5", "5_6"),
            ("1A_{16}", "A_{16}"),
            (r"3\text{ R }2", r"2\text{ R }3"),
        ],
    );
}

#[test]
fn words_of_letters_have_an_order_and_a_case() {
    check(
        &[
            ("HTH", r"\text{HTH}"),
            ("xy", "yx"),
            ("n2^{n-1}", r"\frac{n2^n}{2}"),
            ("V=LWH", "V=HWL"),
            ("Even", r"\text{even}"),
            (r"\text{No solution}", r"\text{NO SOLUTION}"),
            ("B", "b"),
            (r"\pi(R^2-r^2)", r"\pi(R-r)(R+r)"),
        ],
        &[
            ("HTH", "THH"),
            ("ABC", "CBA"),
            ("IV", "VI"),
            ("Amy", "May"),
            ("C6H12O6", "C8H9O6"),
            (r"\text{H2O}", r"\text{HO2}"),
            ("AA", "Aa"),
            ("Rr", "RR"),
            ("CO", "Co"),
            (r"\text{CO}", r"\text{Co}"),
            (r"\Omega", r"\omega"),
            (r"\Delta", r"\delta"),
        ],
    );
}

#[test]
fn different_units_contradict_each_other() {
    check(
        &[
            (r"500 \text{ nm}", r"500\text{ nanometers}"),
            (r"500 \text{ nm}", "500"),
            (r"10 \text{ kJ}", r"10\,\mathrm{kJ}"),
            (r"10 \text{ kJ}", r"10\text{ kilojoules}"),
            (r"5 \text{ J}", r"5\text{ N m}"),
            (r"5 \text{ J}", r"5\text{ N}\cdot\text{m}"),
            (r"5 \text{ mL}", r"5\text{ cm}^3"),
            (r"6 \text{ PM}", r"6\text{ p.m.}"),
            (r"60\text{ mph}", r"60\text{ miles per hour}"),
            (r"20\text{ °C}", r"20^\circ\text{C}"),
            ("7", r"7\text{ apples}"),
            (r"5 \text{ km north}", r"5\text{ km}"),
            (r"3 \text{ KM}", r"3\text{ km}"),
        ],
        &[
            (r"500 \text{ nm}", r"500 \text{ mm}"),
            (r"500 \text{ nm}", r"500 \text{ m}"),
            (r"10 \text{ kJ}", r"10 \text{ J}"),
            (r"10 \text{ kJ}", r"10 \text{ MJ}"),
            (r"10 \text{ kJ}", r"10 \text{ kW}"),
            (r"10 \text{ mW}", r"10 \text{ MW}"),
            (r"5 \text{ N}", r"5 \text{ J}"),
            (r"5 \text{ N}", r"5 \text{ kN}"),
            (r"300 \text{ K}", r"300^\circ\text{C}"),
            (r"2 \text{ MeV}", r"2 \text{ keV}"),
            (r"12 \text{ V}", r"12 \text{ A}"),
            (r"12 \text{ V}", r"12 \text{ mV}"),
            (r"0.5 \text{ mol}", r"0.5 \text{ g}"),
            (r"0.5 \text{ mol}", r"0.5 \text{ mmol}"),
            (r"120 \text{ ms}", r"120 \text{ m}"),
            (r"6 \text{ PM}", r"6 \text{ AM}"),
            (r"4 \text{ square units}", r"4 \text{ cubic units}"),
            (r"5 \text{ km north}", r"5\text{ km south}"),
        ],
    );
}

#[test]
fn words_that_make_another_value() {
    for words in [
        r"\text{ or more}",
        r"\text{ or less}",
        r"\text{ at most}",
        r"\text{ at least}",
        r"\text{ tenths}",
        r"\text{ hundredths}",
        r"\text{ thirds}",
        r"\text{ and a half}",
        r"\text{ factorial}",
        r"\text{ below zero}",
        r"\text{ (mod }7)",
        r"\text{ more than }x",
    ] {
        check(&[], &[("5", &format!("5{words}"))]);
    }
    check(&[("5", r"5\text{ more}"), ("5", r"5\text{ times}")], &[]);
}

#[test]
fn coordinates_by_their_names() {
    check(
        &[
            ("(1,2)", "y=2,x=1"),
            ("(1,2)", "(x,y)=(1,2)"),
            (r"(2,\frac{\pi}{3})", r"r=2,\theta=\frac{\pi}{3}"),
            ("(2,3)", "m=2,b=3"),
            ("(2,3)", "a=2,b=3"),
            ("(3,1)", "(y,x)=(1,3)"),
        ],
        &[
            ("(1,2)", "(y,x)=(1,2)"),
            ("(1,2)", "y=1,x=2"),
            (r"(\frac{\pi}{3},2)", r"r=2,\theta=\frac{\pi}{3}"),
            ("(2,3)", "m=3,b=2"),
            ("(2,3)", "b=2,a=3"),
        ],
    );
}
