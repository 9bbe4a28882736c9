//! Operations whose products are cubek's, on matrix units, and what we add around them.
//!
//! A product counts as reading both operands and writing its result once; what cubek reads again by its own tiling is
//! not counted.
use super::{Counts, Demand, EXPONENTIAL, F32, INDEX};

/// Products of one tile of the vocabulary, and tokens of the smallest.
const MOST_PRODUCTS: usize = 1 << 24;
const FEWEST_TOKENS: usize = 1024;
/// Numbers of a frozen weight that are decoded at a time, and of one of its blocks.
const MOST_DECODED: usize = 1 << 24;
const BLOCK: usize = 32;
/// Bytes of a block's scale and minimum: in f16 as the weight is kept, in f32 as devices have it.
const LINE: f64 = 4.0;
const DEVICE_LINE: f64 = 8.0;
/// Rows that a product reads the codes for as it goes.
const MOST_STREAMED_ROWS: usize = 2;

fn moved(bytes: f64) -> Demand {
    Demand {
        bytes,
        ..Demand::default()
    }
}

/// [`didact_kernels::linear()`], which is burn's product on GPUs.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Linear {
    pub(in super::super) rows: usize,
    pub(in super::super) inputs: usize,
    pub(in super::super) outputs: usize,
    pub(in super::super) float: f64,
}

impl Linear {
    /// Rows in, rows out and the weight, and `2·rows·inputs·outputs` operations.
    pub(in super::super) fn forward(&self) -> Counts {
        let [x, weight, y] = self.numbers();
        let demand = Demand {
            bytes: self.float * (x + weight + y),
            matrix: self.operations(),
            ..Demand::default()
        };
        Counts {
            least: demand,
            launches: vec![demand],
        }
    }

    /// [`didact_kernels::streamed_product`]: f32 rows in and out. Ours rounds the rows to the weight's type first.
    pub(in super::super) fn streamed(&self) -> Counts {
        let [x, weight, y] = self.numbers();
        let least = Demand {
            bytes: F32 * (x + y) + self.float * weight,
            matrix: self.operations(),
            ..Demand::default()
        };
        let product = Demand {
            bytes: self.float * (x + weight) + F32 * y,
            ..least
        };
        let cast = moved((F32 + self.float) * x);
        let launches = if self.float < F32 {
            vec![cast, product]
        } else {
            vec![product]
        };
        Counts { least, launches }
    }

    /// Both gradients: two products that read the output's gradient and the other operand and write a gradient. At least
    /// the output's gradient is read once.
    pub(in super::super) fn backward(&self) -> Counts {
        let [x, weight, y] = self.numbers();
        let product = Demand {
            bytes: self.float * (x + weight + y),
            matrix: self.operations(),
            ..Demand::default()
        };
        Counts {
            least: Demand {
                bytes: self.float * (2.0 * x + 2.0 * weight + y),
                matrix: 2.0 * self.operations(),
                ..Demand::default()
            },
            launches: vec![product; 2],
        }
    }

    /// Of rows, weight and output.
    fn numbers(&self) -> [f64; 3] {
        [
            self.rows * self.inputs,
            self.inputs * self.outputs,
            self.rows * self.outputs,
        ]
        .map(|numbers| numbers as f64)
    }

    fn operations(&self) -> f64 {
        2.0 * self.rows as f64 * self.inputs as f64 * self.outputs as f64
    }
}

/// [`didact_kernels::linear_log_prob()`].
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct LinearLogProb {
    pub(in super::super) tokens: usize,
    pub(in super::super) rows: usize,
    pub(in super::super) hidden: usize,
    pub(in super::super) vocabulary: usize,
    pub(in super::super) float: f64,
    /// Models whose logits of a tile lie side by side: 1, or 2 of [`didact_kernels::linear_kl()`].
    pub(in super::super) models: usize,
}

impl LinearLogProb {
    fn tiles(&self) -> f64 {
        let rows = (self.models * self.rows).max(1);
        let most = MOST_PRODUCTS / rows / FEWEST_TOKENS * FEWEST_TOKENS;
        let tile = most.max(FEWEST_TOKENS).min(self.vocabulary);
        self.vocabulary.div_ceil(tile) as f64
    }

    /// Numbers of the hidden states, of the picked rows, of the embedding and of the logits.
    fn numbers(&self) -> [f64; 4] {
        [
            [self.tokens, self.hidden],
            [self.rows, self.hidden],
            [self.vocabulary, self.hidden],
            [self.rows, self.vocabulary],
        ]
        .map(|[rows, columns]| rows as f64 * columns as f64)
    }

    /// Of one product of rows, embedding and logits.
    fn operations(&self) -> f64 {
        2.0 * self.rows as f64 * self.hidden as f64 * self.vocabulary as f64
    }

    /// Rows, targets, three columns.
    fn columns(&self) -> f64 {
        self.rows as f64 * (2.0 * INDEX + 3.0 * F32)
    }

    /// The copy of the rows, and the logits of all tiles in f32. Each tile reads all rows.
    fn logits(&self) -> [Demand; 2] {
        let [_, picked, embedding, logits] = self.numbers();
        let product = Demand {
            bytes: self.float * (self.tiles() * picked + embedding) + F32 * logits,
            matrix: self.operations(),
            ..Demand::default()
        };
        [moved(2.0 * self.float * picked), product]
    }

    /// At least hidden states and embedding once, and one product. Ours writes every logit in f32 and reads it again for
    /// the running sums, whose four numbers a row are read and written with each tile.
    pub(in super::super) fn forward(&self) -> Counts {
        let [hidden, _, embedding, logits] = self.numbers();
        let rows = self.rows as f64;
        let least = Demand {
            bytes: self.float * (hidden + embedding) + self.columns(),
            matrix: self.operations(),
            ..Demand::default()
        };
        let absorb = Demand {
            bytes: F32 * logits + self.tiles() * rows * (8.0 * F32 + INDEX),
            ordinary: logits * (EXPONENTIAL + 7.0),
            ..Demand::default()
        };
        let [pick, product] = self.logits();
        let finish = moved(rows * 7.0 * F32);
        Counts {
            least,
            launches: vec![pick, product, absorb, finish],
        }
    }

    /// Gradients of the hidden states, and of the embedding where `trained`.
    ///
    /// At least hidden states and embedding read, gradients written, and one product a gradient, as if the logits had
    /// been kept for nothing. Ours makes the logits again, writes and reads their derivatives, adds the tiles' parts of
    /// the rows' gradient in f32, and writes the embedding's gradient in f32, then in its own type, then in its place.
    pub(in super::super) fn backward(&self, trained: bool) -> Counts {
        let float = self.float;
        let [hidden, _, embedding, logits] = self.numbers();
        let wanted = if trained { 2.0 } else { 1.0 };
        let written = if trained { hidden + embedding } else { hidden };
        let least = Demand {
            bytes: float * (hidden + embedding + written) + 2.0 * self.columns(),
            matrix: wanted * self.operations(),
            ..Demand::default()
        };
        let derivatives = Demand {
            bytes: (F32 + float) * logits,
            ordinary: logits * (EXPONENTIAL + 9.0),
            ..Demand::default()
        };
        let mut launches = self.logits().to_vec();
        launches.push(derivatives);
        launches.extend(self.gathered(trained));
        Counts { least, launches }
    }

    /// The gradients of the hidden states, and of the embedding where `trained`, from the logits' derivatives.
    fn gathered(&self, trained: bool) -> Vec<Demand> {
        let float = self.float;
        let [hidden, picked, embedding, logits] = self.numbers();
        let of_rows = Demand {
            bytes: float * (logits + embedding) + F32 * self.tiles() * picked,
            matrix: self.operations(),
            ..Demand::default()
        };
        let sums = moved(3.0 * F32 * (self.tiles() - 1.0) * picked);
        // Zeros, each row added to its token, and the cast.
        let scatter = moved(F32 * (hidden + 3.0 * picked) + (F32 + float) * hidden);
        let mut launches = vec![of_rows, sums, scatter];
        if trained {
            launches.push(Demand {
                bytes: float * (logits + self.tiles() * picked) + F32 * embedding,
                matrix: self.operations(),
                ..Demand::default()
            });
            let cast = if float < F32 { F32 + float } else { 0.0 };
            launches.push(moved((cast + 2.0 * float) * embedding));
        }
        launches
    }

    /// The divergence of two models of these sizes. At least hidden states and embeddings of both once, and one product
    /// each. Ours writes the logits of both in f32 and reads them again; with each logit two running sums are brought to
    /// new maxima, which takes four exponentials.
    pub(in super::super) fn divergence(&self) -> Counts {
        let [hidden, _, embedding, logits] = self.numbers();
        let rows = self.rows as f64;
        let least = Demand {
            bytes: 2.0 * self.float * (hidden + embedding) + rows * (2.0 * INDEX + 3.0 * F32),
            matrix: 2.0 * self.operations(),
            ..Demand::default()
        };
        let absorb = Demand {
            bytes: 2.0 * F32 * logits + self.tiles() * rows * 10.0 * F32,
            ordinary: logits * (4.0 * EXPONENTIAL + 20.0),
            ..Demand::default()
        };
        let finish = moved(rows * 8.0 * F32);
        let mut launches = [self.logits(), self.logits()].concat();
        launches.extend([absorb, finish]);
        Counts { least, launches }
    }

    /// Its gradients of one of the models, as [`Self::backward`]: the logits of both are made again.
    pub(in super::super) fn divergence_backward(&self, trained: bool) -> Counts {
        let float = self.float;
        let [hidden, _, embedding, logits] = self.numbers();
        let of_one = self.backward(trained).least;
        let least = Demand {
            bytes: of_one.bytes + float * (hidden + embedding),
            ..of_one
        };
        let derivatives = Demand {
            bytes: (2.0 * F32 + float) * logits,
            ordinary: logits * (2.0 * EXPONENTIAL + 8.0),
            ..Demand::default()
        };
        let mut launches = [self.logits(), self.logits()].concat();
        launches.push(derivatives);
        launches.extend(self.gathered(trained));
        Counts { least, launches }
    }
}

/// [`didact_kernels::quantised_linear`] and [`didact_kernels::streamed_quantised_product`].
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct QuantisedLinear {
    pub(in super::super) dense: Linear,
    pub(in super::super) bits: usize,
}

impl QuantisedLinear {
    fn panels(&self) -> f64 {
        let most = (MOST_DECODED / self.dense.inputs).clamp(1, self.dense.outputs);
        self.dense.outputs.div_ceil(most) as f64
    }

    /// Bytes of codes, and blocks.
    fn codes_and_blocks(&self) -> [f64; 2] {
        let blocks = self.dense.outputs * self.dense.inputs.div_ceil(BLOCK);
        [blocks * BLOCK * self.bits / 8, blocks].map(|count| count as f64)
    }

    /// At least codes, scales and minima, and rows in and out, and one product.
    fn least(&self) -> Demand {
        let [codes, blocks] = self.codes_and_blocks();
        let [x, _, y] = self.dense.numbers();
        Demand {
            bytes: codes + LINE * blocks + self.dense.float * (x + y),
            matrix: self.dense.operations(),
            ..Demand::default()
        }
    }

    /// Codes to numbers in the rows' type.
    fn decode(&self) -> Demand {
        let [codes, blocks] = self.codes_and_blocks();
        let [_, weight, _] = self.dense.numbers();
        Demand {
            bytes: codes + DEVICE_LINE * blocks + self.dense.float * weight,
            ordinary: 2.0 * weight,
            ..Demand::default()
        }
    }

    /// Ours writes the decoded panels, reads them and the rows for each, and writes the output twice: as panels and
    /// together.
    pub(in super::super) fn forward(&self) -> Counts {
        let [x, weight, y] = self.dense.numbers();
        let float = self.dense.float;
        let product = Demand {
            bytes: float * (self.panels() * x + weight + y),
            matrix: self.dense.operations(),
            ..Demand::default()
        };
        Counts {
            least: self.least(),
            launches: vec![self.decode(), product, moved(2.0 * float * y)],
        }
    }

    /// Of the rows alone. Ours copies each panel's columns of the output's gradient and adds the panels' parts in f32.
    pub(in super::super) fn backward(&self) -> Counts {
        let [x, weight, y] = self.dense.numbers();
        let float = self.dense.float;
        let product = Demand {
            bytes: float * (weight + y) + F32 * self.panels() * x,
            matrix: self.dense.operations(),
            ..Demand::default()
        };
        let cast = if float < F32 { F32 + float } else { 0.0 };
        let sums = moved((3.0 * F32 * (self.panels() - 1.0) + cast) * x);
        let copy = moved(2.0 * float * y);
        Counts {
            least: self.least(),
            launches: vec![self.decode(), copy, product, sums],
        }
    }

    /// The product for few rows, in f32. Up to two of them ours multiplies on ordinary units as it reads the codes, one
    /// cube an output, each of which reads all rows anew: `rows + 3` reads a number of the weight. More go the way of
    /// [`Self::forward`].
    pub(in super::super) fn streamed(&self) -> Counts {
        if self.dense.rows > MOST_STREAMED_ROWS {
            return self.forward();
        }
        let [codes, blocks] = self.codes_and_blocks();
        let [x, weight, y] = self.dense.numbers();
        let rows = self.dense.rows as f64;
        let launch = Demand {
            bytes: codes + DEVICE_LINE * blocks + F32 * (self.dense.outputs as f64 * x + y),
            ordinary: weight * (2.0 + 2.0 * rows),
            reads: weight * (rows + 3.0),
            ..Demand::default()
        };
        Counts {
            least: self.least(),
            launches: vec![launch],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENSE: Linear = Linear {
        rows: 2,
        inputs: 33,
        outputs: 5,
        float: 4.0,
    };

    #[test]
    fn a_product_of_two_rows() {
        let forward = DENSE.forward();
        assert_eq!(forward.least.bytes, 4.0 * (66.0 + 165.0 + 10.0));
        assert_eq!(forward.least.matrix, 2.0 * 330.0);
        let backward = DENSE.backward();
        assert_eq!(backward.least.bytes, 4.0 * (132.0 + 330.0 + 10.0));
        assert_eq!(backward.ours().bytes, 4.0 * 2.0 * 241.0);
        assert_eq!(backward.ours().matrix, backward.least.matrix);
    }

    #[test]
    fn two_tiles_of_a_vocabulary() {
        let head = LinearLogProb {
            tokens: 3,
            rows: 1 << 14,
            hidden: 2,
            vocabulary: 1025,
            float: 2.0,
            models: 1,
        };
        assert_eq!(head.tiles(), 2.0);
        assert_eq!(LinearLogProb { rows: 1, ..head }.tiles(), 1.0);
        let rows = f64::from(1 << 14);
        let forward = head.forward();
        assert_eq!(
            forward.least.bytes,
            2.0 * (6.0 + 2050.0) + rows * (8.0 + 12.0)
        );
        let [pick, product, absorb, finish] = forward.launches[..] else {
            panic!("four kinds of launches")
        };
        assert_eq!(pick.bytes, 2.0 * 2.0 * 2.0 * rows);
        assert_eq!(
            product.bytes,
            2.0 * (2.0 * 2.0 * rows + 2050.0) + 4.0 * 1025.0 * rows
        );
        assert_eq!(product.matrix, 2.0 * 2.0 * 1025.0 * rows);
        assert_eq!(absorb.bytes, 4.0 * 1025.0 * rows + 2.0 * 36.0 * rows);
        assert_eq!(finish.bytes, 28.0 * rows);
        let both = head.backward(true);
        assert_eq!(both.least.matrix, 2.0 * product.matrix);
        assert_eq!(both.ours().matrix, 3.0 * product.matrix);
        let one = head.backward(false);
        assert_eq!(one.ours().matrix, 2.0 * product.matrix);
        assert_eq!(both.least.bytes - one.least.bytes, 2.0 * 2050.0);
        // The sums of the second tile with the first: two read, one written.
        assert_eq!(one.launches[4].bytes, 12.0 * 2.0 * rows);
    }

    #[test]
    fn a_divergence_has_the_logits_of_both() {
        let one = LinearLogProb {
            tokens: 3,
            rows: 1 << 13,
            hidden: 2,
            vocabulary: 1025,
            float: 2.0,
            models: 1,
        };
        let pair = LinearLogProb { models: 2, ..one };
        assert_eq!((one.tiles(), pair.tiles()), (1.0, 2.0));
        let forward = pair.divergence();
        assert_eq!(forward.ours().matrix, 2.0 * one.forward().ours().matrix);
        assert_eq!(
            forward.least.bytes,
            2.0 * 2.0 * (6.0 + 2050.0) + f64::from(1 << 13) * 20.0
        );
        // Two products of logits, and one for the rows' gradient.
        let backward = pair.divergence_backward(false);
        assert_eq!(backward.ours().matrix, 3.0 * one.forward().ours().matrix);
        assert_eq!(backward.least.matrix, one.backward(false).least.matrix);
    }

    #[test]
    fn a_short_block_takes_the_room_of_a_whole_one() {
        let weight = QuantisedLinear {
            dense: DENSE,
            bits: 4,
        };
        // Ten blocks of 16 bytes of codes.
        assert_eq!(
            weight.least().bytes,
            160.0 + 4.0 * 10.0 + 4.0 * (66.0 + 10.0)
        );
        assert_eq!(weight.decode().bytes, 160.0 + 8.0 * 10.0 + 4.0 * 165.0);
        assert_eq!(
            weight.streamed().ours().bytes,
            160.0 + 80.0 + 4.0 * (5.0 * 66.0 + 10.0)
        );
        assert_eq!(weight.streamed().ours().reads, 5.0 * 165.0);
        let many = QuantisedLinear {
            dense: Linear { rows: 3, ..DENSE },
            bits: 4,
        };
        assert_eq!(many.streamed(), many.forward());
    }

    #[test]
    fn a_large_weight_is_decoded_in_panels() {
        let weight = QuantisedLinear {
            dense: Linear {
                rows: 1,
                inputs: 1 << 12,
                outputs: (1 << 12) + 1,
                float: 2.0,
            },
            bits: 8,
        };
        assert_eq!(weight.panels(), 2.0);
        let x = f64::from(1 << 12);
        // The second panel's part is added to the first, and the sum cast.
        assert_eq!(weight.backward().launches[3].bytes, (12.0 + 6.0) * x);
    }
}
