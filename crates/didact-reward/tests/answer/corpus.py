#!/usr/bin/env python3
"""Writes corpus.jsonl: pairs of answers with the verdicts of math-verify 0.9.0.

    python3 -m venv venv
    venv/bin/pip install 'math-verify==0.9.0' 'latex2sympy2-extended==1.11.0' 'antlr4-python3-runtime==4.13.2'
    venv/bin/python corpus.py > corpus.jsonl

Every pair says by construction whether the answer is right (`truth`); math-verify's verdict (`peer`) is what its
`parse` and `verify` return with their defaults, the expected answer first, between dollars. Pairs are of two kinds:
listed by hand after answers as MATH, AIME and GSM8K have them, and made from a fixed seed. Wrong answers are near
misses: another sign, a reduced digit, an open bracket, a forgotten factor.
"""

import json
import logging
import random
import sys
from fractions import Fraction

logging.disable(logging.CRITICAL)

from math_verify import parse, verify  # noqa: E402

SEED = 20260801
rng = random.Random(SEED)
pairs = []  # (kind, expected, answer, truth, extra)


def add(kind, expected, right=(), wrong=(), **extra):
    """`right` and `wrong` are answers as they stand in a box."""
    for answer in right:
        pairs.append((kind, expected, answer, True, extra))
    for answer in wrong:
        pairs.append((kind, expected, answer, False, extra))


def frac(f, style="frac"):
    sign, n, d = ("-" if f < 0 else ""), abs(f.numerator), f.denominator
    if d == 1:
        return f"{sign}{n}"
    return {
        "frac": rf"{sign}\frac{{{n}}}{{{d}}}",
        "dfrac": rf"{sign}\dfrac{{{n}}}{{{d}}}",
        "tfrac": rf"{sign}\tfrac{{{n}}}{{{d}}}",
        "slash": f"{sign}{n}/{d}",
        "upper": rf"\frac{{{sign}{n}}}{{{d}}}",
    }[style]


def other(f):
    """A fraction that looks like f and is not."""
    n, d = f.numerator, f.denominator
    choices = [Fraction(n + 1, d), Fraction(n, d + 1), Fraction(-n, d), Fraction(d, n) if n else Fraction(1), f + 1]
    return rng.choice([c for c in choices if c != f])


def rationals():
    kind = "rationals"
    add(kind, r"\frac{3}{4}", ["3/4", "6/8", "0.75", "75/100", r"\frac{-3}{-4}"], ["4/3", "3/5", "-3/4", "0.7"])
    add(kind, "7", ["7", "14/2", "+7", "7.0", r"\frac{21}{3}", "(7)", "x = 7"], ["-7", "70", "1/7", "7/2", "17"])
    add(kind, "-5", ["-5", "−5", "-10/2", "x=-5", r"-\frac{15}{3}"], ["5", "--5", "1/5"])
    add(kind, "1/3", ["1/3", "2/6", r"\frac13", "0.333333", "0.3333333333"], ["0.333", "0.33", "3", "-1/3"])
    add(kind, r"2\frac{1}{3}", [r"\frac{7}{3}", "7/3", r"2 + \frac{1}{3}"], [r"\frac{2}{3}", r"\frac{5}{3}", "2"])
    for _ in range(16):
        f = Fraction(rng.randint(-30, 30) or 1, rng.randint(2, 24))
        k = rng.randint(2, 5)
        same = [frac(f, "slash"), frac(f), rf"\frac{{{f.numerator * k}}}{{{f.denominator * k}}}", f"{f.numerator * k}/{f.denominator * k}"]
        add(kind, frac(f, rng.choice(["frac", "slash"])), rng.sample(same, 2), [frac(other(f), rng.choice(["frac", "slash"]))])


def decimals():
    kind = "decimals"
    add(kind, "0.5", ["0.50", ".5", "1/2", r"\frac12", "0.500000"], ["0.05", "5", "-0.5", "0.51"])
    add(kind, "3.14", ["3.14", "3.140", "157/50"], ["3.1", r"\pi", "3.141", "314"])
    add(kind, "2.5", ["2.50", "5/2", r"2\frac{1}{2}", "x = 2.5"], ["2.05", "25", "2.51", "2,5"])
    add(kind, "12.75", ["12.75", r"\frac{51}{4}", "12.750"], ["12.57", "1.275", "127.5"])
    add(kind, r"\sqrt{2}", ["1.414214", "1.41421356"], ["1.41", "1.4142", "1.5"])
    add(kind, r"\pi", ["3.141593", "3.14159265"], ["3.14", "22/7", "3.1416"])
    add(kind, r"\frac{2}{7}", ["0.285714", "0.28571429"], ["0.286", "0.2857", "3.5"])
    add(kind, r"1.5 \times 10^{3}", ["1500", r"15 \times 10^2", r"1.5 \cdot 10^3"], ["1.5", "15000", r"1.5 \times 10^{-3}"])
    add(kind, "0.002", [r"2 \times 10^{-3}", r"\frac{1}{500}", r"2\cdot10^{-3}"], ["0.02", r"2 \times 10^{3}"])
    for _ in range(14):
        places = rng.randint(1, 4)
        scaled = rng.randint(1, 10 ** (places + 2))
        if scaled % 10 == 0:
            scaled += 3
        text = f"{scaled / 10**places:.{places}f}"
        f = Fraction(scaled, 10**places)
        wrong = f"{(scaled + rng.choice([1, -1, 10])) / 10**places:.{places}f}"
        add(kind, text, rng.sample([text + "0", frac(f), f"{scaled}/{10**places}"], 2), [rng.choice([wrong, "-" + text])])


def percentages():
    kind = "percentages"
    add(kind, r"50\%", ["0.5", r"\frac{1}{2}", "50", r"50\%", "50%", "50 percent", r"50\text{ percent}"], ["5", "500", r"5\%", r"0.5\%", "0.05"])
    add(kind, "25", [r"25\%", "25%"], [r"2.5\%", r"52\%", "0.25"])
    add(kind, r"12.5\%", ["0.125", r"\frac{1}{8}", r"12.50\%"], ["1.25", r"125\%", r"12\%", "0.0125"])
    add(kind, "0.08", [r"8\%", "8%"], [r"80\%", r"0.8\%", "8"])
    add(kind, r"150\%", ["1.5", r"\frac{3}{2}", "150"], ["15", r"15\%", "0.15", "2"])
    add(kind, r"100\%", ["1", "100"], ["10", r"10\%", "0.1"])
    add(kind, r"33\frac{1}{3}\%", [r"\frac{1}{3}"], [r"33\%", "33"])
    add(kind, r"0.5\%", ["0.005", r"\frac{1}{200}"], ["0.5", r"5\%", "0.05"])
    add(kind, r"66.666667\%", [r"\frac{2}{3}"], [r"66\%", r"\frac{3}{2}"])
    for _ in range(14):
        p = rng.randint(1, 199)
        f = Fraction(p, 100)
        right = [rf"{p}\%", f"{p / 100:.2f}", frac(f), f"{p}%"]
        wrong = [rf"{p + 1}\%", rf"{p / 10:.1f}\%", f"{p / 1000:.3f}", rf"-{p}\%"]
        add(kind, rng.choice([rf"{p}\%", rf"{p}\%", f"{p / 100:.2f}"]), rng.sample(right[:3], 2), rng.sample(wrong, 1))


def thousands():
    kind = "thousands"
    add(kind, "12,345", ["12345", "12,345", r"12{,}345", "12345.0", r"12,\!345"], ["12,354", "1,2345", "12.345", "123,45", "12, 345"])
    add(kind, "1000000", ["1,000,000", "10^6", "1{,}000{,}000"], ["1,000,00", "100,000", "10,000,000", "10^5"])
    add(kind, r"\$1,250", ["1250", r"\$1250", "1,250.00", r"\$1,250.00"], ["1,25", "12.50", "1,205"])
    add(kind, "-4,500", ["-4500", "-4,500"], ["4,500", "-45,00", "-4.5"])
    add(kind, "10,000", [r"10\,000"], ["1,000", "10", "(10,000)"])
    add(kind, "3,600", ["3600", r"3,600 \text{ seconds}", "x = 3600"], ["3,6", "36", "3,060"])
    for _ in range(16):
        n = rng.randint(1000, 99_999_999)
        text = f"{n:,}"
        digits = str(n)
        swapped = digits[:-2] + digits[-1] + digits[-2]
        if swapped == digits:
            swapped = str(n + 9)
        wrong = [f"{int(swapped):,}", f"{n * 10:,}", f"{n + 1000:,}", str(n // 10)]
        add(kind, rng.choice([text, digits]), [digits, rng.choice([text, text.replace(",", "{,}"), f"{n}.0"])], rng.sample(wrong, 1 + rng.randint(0, 1)))


def units():
    kind = "units"
    add(kind, r"10 \text{ cm}", ["10", "10 cm", r"10\text{ cm}", r"10 \mathrm{~cm}", r"10\,\text{cm}"], [r"100 \text{ cm}", "1", r"0.1 \text{ cm}", r"11 \text{ cm}"])
    add(kind, r"10 \text{ cm}", [], [r"10 \text{ km}"])
    add(kind, r"90^\circ", ["90", r"90^{\circ}", "90 degrees", r"90 \text{ degrees}"], [r"9^\circ", r"\frac{\pi}{2}", r"-90^\circ", "89"])
    add(kind, r"\$5", ["5", "5.00", r"\$5.00", r"5 \text{ dollars}"], [r"\$50", "0.5", r"\$4.99", r"-\$5"])
    add(kind, r"5\pi \text{ cm}^2", [r"5\pi", r"5\pi \text{ cm}^{2}"], [r"5 \text{ cm}^2", r"25\pi", r"\frac{5}{\pi}"])
    add(kind, r"60 \text{ mph}", ["60", "60 mph", r"60 \text{ miles per hour}"], ["6 mph", "66", r"61 \text{ miles per hour}"])
    add(kind, r"12 \text{ apples}", ["12", "12 apples"], ["21 apples", r"1.2 \text{ apples}"])
    add(kind, r"3 \text{ hours}", ["3", "3 hours", r"3\text{ hr}"], ["30", "2 hours", r"180 \text{ hours}"])
    add(kind, r"25^\circ\text{C}", ["25", r"25^\circ"], ["52", r"-25^\circ\text{C}"])
    add(kind, r"\frac{1}{2} \text{ mile}", ["0.5", r"\frac{1}{2}", "0.5 miles"], ["2", r"\frac{1}{4} \text{ mile}"])
    add(kind, "12 dollars", ["12"], ["1.2"])
    unit_names = ["cm", "m", "km", "kg", "feet", "inches", "hours", "minutes", "days", "students", "meters", "square units", "mL", "liters"]
    for _ in range(16):
        n, name = rng.randint(2, 400), rng.choice(unit_names)
        gold = rng.choice([str(n), rf"{n} \text{{ {name}}}"])
        right = [rf"{n} \text{{ {name}}}", str(n), rf"{n}\ \text{{{name}}}"]
        wrong = [rf"{n + 1} \text{{ {name}}}", rf"{n * 10} \text{{ {name}}}", f"{n / 10}", rf"-{n} \text{{ {name}}}"]
        add(kind, gold, rng.sample(right, 2), rng.sample(wrong, 1))


def fractions():
    kind = "latex fractions"
    add(kind, r"\frac{1}{2}", [r"\frac12", r"\dfrac{1}{2}", r"\tfrac12", r"\frac{2}{4}", r"\frac 12", r"\frac{1}2"], [r"\frac21", r"\frac{1}{3}", r"-\frac12", r"\frac{1}{20}"])
    add(kind, r"-\frac{3}{7}", [r"\frac{-3}{7}", r"\frac{3}{-7}", r"-\dfrac{3}{7}", "-3/7"], [r"\frac{3}{7}", r"-\frac{7}{3}", r"\frac{-3}{-7}"])
    add(kind, r"1\frac{1}{2}", [r"\frac{3}{2}", "1.5", r"1 \frac12", "3/2"], [r"\frac{1}{2}", "1", r"\frac{11}{2}"])
    add(kind, r"-1\frac{3}{4}", [r"-\frac{7}{4}", "-1.75"], [r"-\frac{1}{4}", r"\frac{7}{4}"])
    add(kind, r"\frac{x}{2}", [r"\frac{1}{2}x", "0.5x", "x/2"], [r"\frac{2}{x}", r"\frac{x}{3}", "2x"])
    add(kind, r"\frac{\pi}{6}", [r"\frac{1}{6}\pi", r"\pi/6", r"\dfrac{2\pi}{12}"], [r"\frac{6}{\pi}", r"\frac{\pi}{3}", r"30^\circ"])
    add(kind, r"\frac{\frac{1}{2}}{3}", [r"\frac{1}{6}", r"\frac{1/2}{3}"], [r"\frac{3}{2}", r"\frac{1}{5}"])
    add(kind, r"\frac{m+n}{2}", [r"\frac{m}{2}+\frac{n}{2}", r"\frac{1}{2}(m+n)"], [r"m+\frac{n}{2}", r"\frac{m+n}{4}"])
    for _ in range(16):
        f = Fraction(rng.randint(1, 40) * rng.choice([1, -1]), rng.randint(2, 30))
        k = rng.randint(2, 6)
        right = [frac(f, "dfrac"), frac(f, "tfrac"), frac(f, "upper"), rf"\frac{{{f.numerator * k}}}{{{f.denominator * k}}}", frac(f, "slash")]
        add(kind, frac(f), rng.sample(right, 2), [frac(other(f), rng.choice(["frac", "dfrac"]))])


def roots():
    kind = "roots and powers"
    add(kind, r"2\sqrt{3}", [r"\sqrt{12}", r"\sqrt{3}\cdot 2", r"\frac{6}{\sqrt{3}}", r"2 \sqrt 3"], [r"3\sqrt{2}", r"\sqrt{6}", r"2\sqrt[3]{3}", r"-2\sqrt{3}"])
    add(kind, r"\frac{\sqrt{2}}{2}", [r"\frac{1}{\sqrt{2}}", r"\sqrt{\frac{1}{2}}", r"\sqrt{0.5}", r"2^{-1/2}"], [r"\frac{2}{\sqrt{2}}", r"\frac{\sqrt{2}}{4}", r"\sqrt{2}"])
    add(kind, r"\sqrt[3]{16}", [r"2\sqrt[3]{2}", r"16^{1/3}", r"2^{4/3}"], [r"2\sqrt{2}", "4", r"\sqrt{16}"])
    add(kind, "1024", ["2^{10}", "2^10", r"4^5", r"32^2"], ["2^9", "10^2", "2^{11}", "20"])
    add(kind, r"\sqrt{2}+\sqrt{3}", [r"\sqrt{3}+\sqrt{2}", r"\sqrt{5+2\sqrt{6}}"], [r"\sqrt{5}", r"\sqrt{6}", r"\sqrt{3}-\sqrt{2}"])
    add(kind, r"\sqrt{2}-1", [r"\frac{1}{\sqrt{2}+1}", r"-1+\sqrt{2}"], [r"1-\sqrt{2}", r"\sqrt{1}", r"\frac{1}{\sqrt{2}-1}"])
    add(kind, r"x^{3/2}", [r"x\sqrt{x}", r"\sqrt{x}x"], [r"x^{2/3}", r"\sqrt[3]{x^2}", r"\sqrt{x}"])
    add(kind, r"2^{n+1}", [r"2\cdot 2^n", r"2^n + 2^n"], [r"2^n+1", r"4^n", r"2^{2n}"])
    add(kind, r"\frac{1}{9}", [r"3^{-2}", r"9^{-1}"], [r"3^2", r"-9", r"3^{-3}"])
    add(kind, "-8", ["(-2)^3", "-2^3"], ["2^3", "(-2)^2"])
    add(kind, "3", [r"\sqrt{9}", r"\sqrt[3]{27}", r"9^{1/2}"], [r"\pm 3", r"\sqrt{3}", r"\sqrt[3]{9}"])
    squarefree = [2, 3, 5, 6, 7, 10, 11, 13, 14, 15]
    for _ in range(14):
        a, b = rng.randint(2, 9), rng.choice(squarefree)
        c = rng.choice([a + 1, a * 2])
        wrong = [rf"{c}\sqrt{{{b}}}", rf"\sqrt{{{a * b}}}", rf"{b}\sqrt{{{a}}}", rf"-{a}\sqrt{{{b}}}"]
        if a == b:
            wrong = wrong[:2]
        add(kind, rf"{a}\sqrt{{{b}}}", [rng.choice([rf"\sqrt{{{a * a * b}}}", rf"\frac{{{a * b}}}{{\sqrt{{{b}}}}}"])], rng.sample(wrong, 1))


def sets():
    kind = "sets"
    add(kind, r"\{1,2,3\}", [r"\{3,2,1\}", "1,2,3", r"\{1, 2, 3\}", r"\left\{1,2,3\right\}", "3, 1, 2", r"\{1;2;3\}"], [r"\{1,2\}", r"\{1,2,4\}", "1,2", r"\{1,2,3,4\}", r"\{123\}"])
    add(kind, r"\{1,2,3\}", [], ["(1,2,3)"])
    add(kind, "1,2", ["2,1", r"\{2,1\}", r"1 \text{ and } 2", "1 and 2", r"2 \text{ or } 1", "x=1, x=2"], ["1,3", "12", r"\{1\}", "1.2", "-1,2"])
    add(kind, r"\pm 2", ["2,-2", r"\{-2,2\}", r"\pm\sqrt{4}", r"x=\pm 2"], ["2", "-2", r"\pm 4", r"\{2\}"])
    add(kind, r"\{\frac12,\frac13\}", [r"\{\frac13,0.5\}", r"\frac13, \frac12"], [r"\{2,3\}", r"\{\frac12\}", r"\{\frac12,\frac23\}"])
    add(kind, r"\emptyset", [r"\{\}", r"\emptyset"], [r"\{0\}", "0"])
    add(kind, r"2\pm\sqrt{3}", [r"2+\sqrt{3}, 2-\sqrt{3}", r"\{2-\sqrt{3},2+\sqrt{3}\}"], [r"2+\sqrt{3}", r"-2\pm\sqrt{3}", r"3\pm\sqrt{2}"])
    add(kind, r"x=1 \text{ or } x=2", ["1,2", "x=2, x=1"], ["x=1", "x=1, x=3"])
    add(kind, r"\{a,b\}", [r"\{b,a\}", "a,b"], [r"\{a,c\}", r"\{a\}"])
    add(kind, r"\{(1,2),(3,4)\}", [r"\{(3,4),(1,2)\}", "(1,2),(3,4)"], [r"\{(2,1),(3,4)\}", r"\{(1,2)\}", "(1,3),(2,4)"])
    for _ in range(12):
        items = rng.sample(range(-12, 30), rng.randint(2, 4))
        shuffled = items[:]
        rng.shuffle(shuffled)
        wrong = items[:]
        wrong[rng.randrange(len(wrong))] += rng.choice([1, 40])
        if len(set(wrong)) < len(wrong) or set(wrong) == set(items):
            wrong = items[:-1]
        join = ", ".join
        strings = lambda xs: [str(x) for x in xs]  # noqa: E731
        add(kind, r"\{" + join(strings(items)) + r"\}", [rng.choice([r"\{%s\}", "%s"]) % join(strings(shuffled))], [r"\{" + join(strings(wrong)) + r"\}"])


def tuples():
    kind = "tuples"
    add(kind, "(1,2,3)", ["(1, 2, 3)", r"\left(1,2,3\right)", "1,2,3", "(1.0,2,3)", "[1,2,3]"], ["(3,2,1)", "(1,2)", "(1,2,4)", "(1,3,2)"])
    add(kind, "(3,-2)", ["(3, -2)", "x=3, y=-2", "(x,y)=(3,-2)", "3,-2", "(3.0,-2)"], ["(-2,3)", "(3,2)", "(-3,-2)", "3", "x=-2, y=3"])
    add(kind, r"\left(\frac{1}{2},-3\right)", ["(0.5,-3)", "(1/2, -3)", r"(\frac12,-3)"], ["(-3,0.5)", r"(\frac13,-3)", "(2,-3)"])
    add(kind, r"(3,\frac{\pi}{2})", [r"(3, \pi/2)", r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{2\pi}{4})"], [r"(\frac{\pi}{2},3)", r"(3,\pi)", r"(-3,\frac{\pi}{2})"])
    add(kind, "(a,b)", ["(a, b)"], ["(b,a)", "(a,c)"])
    add(kind, "(2,5)", ["2,5", "(2,5)"], ["(5,2)", "[2,5]", "25", "2.5"])
    add(kind, "(1,2),(3,4)", ["(3,4),(1,2)", r"(1,2) \text{ and } (3,4)"], ["(1,2)", "(2,1),(3,4)", "(1,4),(3,2)"])
    add(kind, r"(\sqrt{2},1)", ["(1.414214,1)", r"(\frac{2}{\sqrt{2}},1)"], ["(2,1)", "(1.4,1)"])
    add(kind, r"\begin{pmatrix}1\\2\end{pmatrix}", [r"\begin{bmatrix}1\\2\end{bmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"], [r"\begin{pmatrix}2\\1\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"])
    add(kind, r"x=1,y=2", ["(1,2)", "y=2,x=1", "x = 1, y = 2"], ["x=2,y=1", "x=1"])
    for _ in range(14):
        items = [rng.randint(-9, 20) for _ in range(rng.randint(2, 4))]
        if items[0] == items[-1]:
            items[0] += 1
        text = "(" + ", ".join(map(str, items)) + ")"
        wrong = items[::-1]
        if rng.random() < 0.5 or wrong == items:
            wrong = items[:]
            wrong[rng.randrange(len(wrong))] += 1
        spaced = rng.choice([text.replace(", ", ","), r"\left" + text[:-1] + r"\right)"])
        add(kind, text, [spaced], ["(" + ",".join(map(str, wrong)) + ")"])


def intervals():
    kind = "intervals"
    add(kind, "[1,2]", [r"\left[1,2\right]", r"[1.0,2]", r"x \in [1,2]"], ["(1,2)", "[1,2)", "(1,2]", "1,2", "[2,1]", r"\{1,2\}", "[1,3]"])
    add(kind, "(0,1)", ["(0, 1)", r"x\in(0,1)", r"\left(0,1\right)"], ["[0,1]", "(0,1]", "(0,2)", "(-1,0)"])
    add(kind, r"(-\infty,2)", [r"(-\infty, 2)", r"x \in (-\infty,2)"], [r"(-\infty,2]", r"(2,\infty)", r"(-\infty,-2)", r"(-\infty,\infty)"])
    add(kind, r"(-\infty,-1)\cup(1,\infty)", [r"(1,\infty)\cup(-\infty,-1)", r"(-\infty, -1) \cup (1, +\infty)"], [r"(-\infty,-1]\cup[1,\infty)", "(-1,1)", r"(-\infty,1)\cup(1,\infty)", r"(-\infty,-1)"])
    add(kind, "x>3", [r"(3,\infty)", "3<x", "x > 3"], [r"x\ge 3", r"[3,\infty)", "x<3", "3"])
    add(kind, r"x \le 5", [r"(-\infty,5]", r"5 \ge x", r"x\leq 5"], [r"(-\infty,5)", "x<5", r"x\ge 5"])
    add(kind, r"1 < x \le 4", ["(1,4]", r"1<x\leq 4"], ["[1,4)", r"1\le x\le 4", "(1,4)", r"1 < x \le 5"])
    add(kind, r"\mathbb{R}", [r"(-\infty,\infty)"], [r"\mathbb{Z}", r"(0,\infty)", r"\emptyset"])
    add(kind, r"x \ne 0", [r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R}\setminus\{0\}"], [r"(-\infty,\infty)", "0", r"(0,\infty)"])
    add(kind, r"[0,2\pi)", [r"[0, 2\pi)", "[0,6.283185)"], [r"[0,2\pi]", r"(0,2\pi)", r"[0,\pi)"])
    add(kind, r"\left[-\frac{1}{2},\frac{1}{2}\right]", ["[-0.5,0.5]", r"[-\frac12,\frac12]"], [r"\left(-\frac12,\frac12\right)", "[-1,1]"])
    add(kind, r"[1,2]\cup[2,3]", ["[1,3]", r"[2,3]\cup[1,2]"], ["(1,3)", r"[1,2)\cup(2,3]"])
    for _ in range(14):
        low = rng.randint(-20, 10)
        high = low + rng.randint(1, 15)
        opening, closing = rng.choice("(["), rng.choice(")]")
        flipped = (("[" if opening == "(" else "("), closing) if rng.random() < 0.5 else (opening, "]" if closing == ")" else ")")
        wrong = rng.choice([f"{flipped[0]}{low},{high}{flipped[1]}", f"{opening}{low},{high + 1}{closing}"])
        add(kind, f"{opening}{low},{high}{closing}", [rng.choice([f"{opening}{low}, {high}{closing}", rf"\left{opening}{low},{high}\right{closing}", rf"x\in{opening}{low},{high}{closing}"])], [wrong])


def choices():
    kind = "multiple choice"
    letters = "ABCDE"
    for letter in letters:
        wrong = letters[(letters.index(letter) + 1) % 5]
        add(kind, letter, [rf"\text{{({letter})}}", f"({letter})", rf"\textbf{{({letter})}}", rf"\text{{{letter}}}", letter.lower()], [f"({wrong})", rf"\text{{({wrong})}}", rf"\text{{{wrong}}}"])
        add(kind, rf"\text{{({letter})}}", [letter, rf"\mathrm{{{letter}}}", rf"\textbf{{{letter}}}"], [wrong, rf"\mathbf{{{wrong}}}"])
        add(kind, f"({letter})", [rf"\text{{{letter}}}", letter], [f"({wrong})", wrong])
    add(kind, "B", ["(B) 5"], ["(C) 5", "A, B"])
    add(kind, r"\textbf{(C)}", [r"\textbf{(C)}\ 12"], [r"\textbf{(D)}\ 12"])
    add(kind, "A,C", ["C,A", "A, C", r"A \text{ and } C"], ["A", "A,B", "A,B,C"])


def algebra():
    kind = "algebra"
    add(kind, "x^2+2x+1", ["(x+1)^2", "1+2x+x^2", "x(x+2)+1"], ["x^2+2x-1", "(x-1)^2", "x^2+1", "(x+1)^3"])
    add(kind, "y=2x+1", ["2x+1", "y=1+2x", "y - 2x = 1"], ["y=2x-1", "y=x+2", "2x"])
    add(kind, "(x-1)(x+1)", ["x^2-1", "(x+1)(x-1)", "-(1-x)(1+x)"], ["x^2+1", "(x-1)^2", "1-x^2"])
    add(kind, r"\frac{x^2-1}{x-1}", ["x+1"], ["x-1", "x^2+1"])
    add(kind, r"\sin^2 x + \cos^2 x", ["1"], ["0", r"\sin 2x"])
    add(kind, r"\sin(2x)", [r"2\sin x\cos x", r"\sin 2x"], [r"2\sin x", r"\sin^2 x", r"\cos(2x)"])
    add(kind, "x=5", ["5", "x = 5", "5 = x"], ["y=5", "x=-5", "x=50"])
    add(kind, r"\frac{n(n+1)}{2}", [r"\frac{n^2+n}{2}", "n(n+1)/2", r"\binom{n+1}{2}"], [r"\frac{n(n-1)}{2}", r"n^2+\frac{n}{2}", "n(n+1)"])
    add(kind, "3x-2y+7=0", ["3x-2y=-7", "2y-3x-7=0"], ["3x+2y+7=0", "3x-2y-7=0"])
    add(kind, "ab+ac", ["a(b+c)", "ca+ba"], ["ab+c", "a+b+c", "abc"])
    add(kind, r"\log_2 8", ["3", r"\frac{\ln 8}{\ln 2}"], ["8", "2", r"\log_8 2"])
    add(kind, r"\pi r^2", [r"r^2\pi", r"\pi r \cdot r"], [r"2\pi r", r"\pi r", r"\pi^2 r"])
    add(kind, "10!", ["3628800"], ["10", "362880"])
    add(kind, "e^{2x}", ["(e^x)^2", r"e^x \cdot e^x"], ["e^{x^2}", "2e^x", "e^{x+2}"])
    add(kind, "|x|", [r"\sqrt{x^2}"], ["x", "-x"])
    add(kind, "3+4i", ["4i+3"], ["3-4i", "7i", "4+3i"])
    for _ in range(12):
        a, b = rng.choice([n for n in range(-9, 10) if n]), rng.choice([n for n in range(-9, 10) if n])

        def signed(n, name=""):
            if n == 0:
                return ""
            size = "" if abs(n) == 1 and name else abs(n)
            return f"{'+' if n > 0 else '-'}{size}{name}"

        product = f"(x{signed(a)})(x{signed(b)})"
        expanded = f"x^2{signed(a + b, 'x')}{signed(a * b)}"
        near = f"x^2{signed(a + b, 'x')}{signed(-a * b)}"
        add(kind, *( (product, [expanded], [near]) if rng.random() < 0.5 else (expanded, [product], [f"(x{signed(-a)})(x{signed(b)})"])))


def extraction():
    """The whole text is given; `wrong` texts end on another answer, or hold none."""
    kind = "extraction"

    def texts(expected, right, wrong):
        for text in right:
            pairs.append((kind, expected, text, True, {"whole": True}))
        for text in wrong:
            pairs.append((kind, expected, text, False, {"whole": True}))

    for n in [7, 42, 360, -13, 1989]:
        texts(
            str(n),
            [
                f"Adding up, we get $x = {n}$. So the final answer is $\\boxed{{{n}}}$.",
                f"First I tried {n + 1}, then it became clear.\nThe answer is {n}.",
                f"{abs(n)} items were sold and more.\n#### {n}",
                f"Therefore the final answer is ${n}$. I hope it is correct.",
                f"Thus\n\\[ \\boxed{{{n}}} \\]",
            ],
            [
                f"Take $x = {n}$. Then the final answer is $\\boxed{{{n + 1}}}$.",
                f"The answer is {n * 10}.",
                f"Start from {n}.\n#### {n - 1}",
            ],
        )
    texts(r"\frac{1}{2}", [r"Hence \boxed{\frac{1}{2}}.", r"The answer is $\frac{1}{2}$.", "The answer is 1/2", r"So \fbox{\frac{1}{2}}"], [r"Hence \boxed{\frac{1}{3}}, not $\frac{1}{2}$.", r"The answer is $\frac{2}{1}$."])
    texts(r"\frac{\sqrt{3}}{2}", [r"$$\boxed{\frac{\sqrt{3}}{2}}$$", r"The final answer is $\frac{\sqrt{3}}{2}$."], [r"$$\boxed{\frac{\sqrt{2}}{3}}$$", r"$\boxed{\frac{\sqrt{3}}{2}+1}$"])
    texts("1,2", [r"So $\boxed{1}$ and $\boxed{2}$.", r"The solutions are $x=1$ and $x=2$, so \boxed{1, 2}."], [r"So $\boxed{1}$.", r"\boxed{1} and \boxed{3}"])
    texts("18", ["She earns $18 every day.\n#### 18", "Answer: 18", "**Answer:** 18", "The answer is 18 dollars.", "She pays 9 * 2 = 18.", r"\boxed{6}. I check again: the final answer is 18."], ["I cannot tell.", "Answer: 81", r"\boxed{18} was the first idea, but the final answer is 81.", "She pays 9 * 2 = 19."])
    texts("x^2+1", [r"We obtain $f(x)=\boxed{x^2+1}$.", r"Answer: $x^2+1$"], [r"We obtain $f(x)=\boxed{x^2-1}$.", r"Answer: $x+1$"])
    texts("(3,4)", [r"The point is $\boxed{(3,4)}$.", r"The answer is $(3,4)$."], [r"The point is $\boxed{(4,3)}$.", r"The answer is $[3,4]$."])
    texts(r"\text{Tuesday}", [r"It is a \boxed{\text{Tuesday}}.", r"$\boxed{\text{tuesday}}$"], [r"It is a \boxed{\text{Monday}}.", r"$\boxed{\text{Thursday}}$"])


def peer_errs():
    """Pairs on which math-verify is known to err, at least in some form: they keep the list of disagreements honest."""
    add("decimals", "0.0000012", ["0.00000120"], ["0.0000008"])
    add("decimals", "1500", ["1.5e3"])
    add("decimals", r"\frac{1}{3}", [r"0.\overline{3}"])
    add("rationals", "1.5", ["1 1/2"])
    add("percentages", r"0.5\%", [r"\frac{1}{2}\%"])
    add("units", r"15 \text{ m}^2", [r"15 m^2"])
    add("units", r"5 \text{ km}", ["5 kilometers"], [r"5 \text{ miles}"])
    add("units", r"5 \text{ million}", ["5000000"], ["5"])
    add("roots and powers", r"\sqrt[3]{-8}", ["-2"])
    add("sets", r"\frac{-1 \pm \sqrt{5}}{2}", [r"\frac{-1+\sqrt{5}}{2}, \frac{-1-\sqrt{5}}{2}"], [r"\frac{-1+\sqrt{5}}{2}"])
    add("tuples", r"(\pm 1, 0)", ["(1,0),(-1,0)"])
    add("intervals", r"x<1 \text{ or } x>2", [r"(-\infty,1)\cup(2,\infty)"], [r"(-\infty,1]\cup[2,\infty)"])
    add("multiple choice", "D", ["D. 12", r"\text{Option D}"], ["E. 12"])
    add("algebra", r"\frac{1}{1+i}", [r"\frac{1-i}{2}"], [r"\frac{1+i}{2}"])
    add("algebra", r"\cos 60^\circ", [r"\frac{1}{2}"], [r"\frac{\sqrt{3}}{2}"])
    pairs.append(("extraction", "B", "The answer is (B).", True, {"whole": True}))
    pairs.append(("extraction", "7", r"I get \boxed{6}. No, it must be \boxed{7}.", True, {"whole": True}))
    pairs.append(("extraction", "5", "So it is not 5", False, {"whole": True}))


def countdown():
    """The expected answer is the target; the numbers are given beside it."""
    kind = "countdown"
    hand = [
        (24, [1, 3, 4, 6], ["6/(1-3/4)"], ["6/(1-4/3)", "6*4+1-3"]),
        (24, [2, 3, 4, 4], ["(4+4)*3", "4*3*2", "(4-2)*4*3"], ["4*3+4", "(4+4)*2"]),
        (10, [2, 5, 7], ["2*5", "7+5-2"], ["7+2", "2*7-5"]),
        (100, [25, 4, 3, 8], ["25*4", "4*25*(3-8/4)"], ["25*3+8*4", "25+4*8"]),
        (7, [3, 6, 2], ["(6/2)+3+1-1"], ["6/2+3"]),
    ]
    for target, numbers, right, wrong in hand:
        for expression in right:
            truth = expression != "(6/2)+3+1-1" and expression != "4*25*(3-8/4)"
            pairs.append((kind, str(target), expression, truth, {"numbers": numbers}))
        for expression in wrong:
            pairs.append((kind, str(target), expression, False, {"numbers": numbers}))
    while sum(1 for p in pairs if p[0] == kind) < 62:
        numbers = [rng.randint(1, 25) for _ in range(rng.randint(3, 4))]
        text, value = str(numbers[0]), Fraction(numbers[0])
        for n in numbers[1:]:
            op = rng.choice("+-*" if value.denominator != 1 or value % n else "+-*/")
            value = {"+": value + n, "-": value - n, "*": value * n, "/": value / n}[op]
            text = f"({text}){op}{n}" if op in "*/" and not text.isdigit() else f"{text}{op}{n}"
        if value.denominator != 1 or not 0 < value < 1000:
            continue
        pairs.append((kind, str(value), text, True, {"numbers": numbers}))
        if rng.random() < 0.55:
            pairs.append((kind, str(value + rng.choice([1, -1, 2])), text, False, {"numbers": numbers}))


PLAIN = [
    "\\boxed{%s}",
    "$%s$",
    "So the answer is $\\boxed{%s}$.",
    "The final answer is $%s$. I hope it is correct.",
    "We simplify and find\n\\[ \\boxed{%s} \\]",
    "The answer is $%s$.",
]


def main():
    for build in [extraction, rationals, decimals, percentages, thousands, units, fractions, roots, sets, tuples, intervals, choices, algebra, peer_errs, countdown]:
        build()
    for kind, expected, answer, truth, extra in pairs:
        if kind == "countdown":
            found = f"${answer}$"
        elif extra.get("whole"):
            found = answer
        else:
            template = rng.choice(PLAIN[:1] * 3 + PLAIN)
            found = template % answer
        peer = verify(parse(f"${expected}$"), parse(found))
        row = {"kind": kind, "expected": expected, "found": found, "truth": truth, "peer": bool(peer)}
        if "numbers" in extra:
            row["numbers"] = extra["numbers"]
        print(json.dumps(row, ensure_ascii=False))
    kinds = {}
    for kind, _, _, truth, _ in pairs:
        kinds.setdefault(kind, [0, 0])[not truth] += 1
    for kind, (right, wrong) in kinds.items():
        print(f"{kind}: {right} right, {wrong} wrong", file=sys.stderr)
    print(f"{len(pairs)} pairs", file=sys.stderr)


main()
