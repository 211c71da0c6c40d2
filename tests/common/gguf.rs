//! Writes GGUF headers without tensor data, for tests.

/// A header under construction.
#[derive(Default, Clone)]
pub struct Gguf {
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    offset: u64,
}

pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const Q4_K: u32 = 12;
pub const Q6_K: u32 = 14;
pub const MXFP4: u32 = 39;

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat()
}

impl Gguf {
    pub fn new(architecture: &str) -> Self {
        Self::default().string("general.architecture", architecture)
    }

    pub fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    pub fn string(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &text(value))
    }

    pub fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub fn u32s(self, key: &str, values: &[u32]) -> Self {
        let mut bytes = [&4_u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    pub fn bools(self, key: &str, values: &[bool]) -> Self {
        let mut bytes = [&7_u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        bytes.extend(values.iter().map(|v| u8::from(*v)));
        self.raw(key, 9, &bytes)
    }

    pub fn strings(self, key: &str, values: &[&str]) -> Self {
        let mut bytes = [&8_u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        bytes.extend(values.iter().flat_map(|v| text(v)));
        self.raw(key, 9, &bytes)
    }

    /// Adds a tensor; `kind` is ggml's number of its type.
    pub fn tensor(mut self, name: &str, dims: &[u64], kind: u32) -> Self {
        let mut bytes = [&text(name)[..], &(dims.len() as u32).to_le_bytes()].concat();
        bytes.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(self.offset.to_le_bytes());
        self.tensors.push(bytes);
        self.offset += bytes_of(dims, kind).next_multiple_of(32);
        self
    }

    pub fn version(&self, version: u32) -> Vec<u8> {
        let mut all = [&b"GGUF"[..], &version.to_le_bytes()].concat();
        all.extend((self.tensors.len() as u64).to_le_bytes());
        all.extend((self.keys.len() as u64).to_le_bytes());
        all.extend(self.keys.concat());
        all.extend(self.tensors.concat());
        all
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.version(3)
    }

    /// Two files of a split model: the metadata and the first `count` tensors, and the others.
    pub fn split(&self, count: usize) -> (Self, Self) {
        let (first, second) = self.tensors.split_at(count);
        let first = Self { tensors: first.to_vec(), ..self.clone() };
        let second = Self { keys: vec![], tensors: second.to_vec(), ..self.clone() };
        (first, second.u32("split.no", 1))
    }

    /// Bytes of the data section, padding included.
    pub fn data(&self) -> u64 {
        self.offset
    }
}

/// Storage of a tensor.
pub fn bytes_of(dims: &[u64], kind: u32) -> u64 {
    let elements: u64 = dims.iter().product();
    let (block, bytes) = match kind {
        F32 => (1, 4),
        F16 => (1, 2),
        Q4_K => (256, 144),
        Q6_K => (256, 210),
        MXFP4 => (32, 17),
        _ => (1, 1),
    };
    elements / block * bytes
}

/// Llama with these sizes; attention and feed-forward in `kind`, embeddings in Q6_K where that is Q4_K.
pub fn llama(sizes: &Llama, kind: u32) -> Gguf {
    let Llama { layers, hidden, heads, kv_heads, head_dim, feed_forward, vocab, tied } = *sizes;
    let table = if kind == Q4_K { Q6_K } else { kind };
    let mut g = Gguf::new("llama")
        .u32("llama.block_count", layers)
        .u32("llama.context_length", 131_072)
        .u32("llama.embedding_length", hidden as u32)
        .u32("llama.feed_forward_length", feed_forward as u32)
        .u32("llama.attention.head_count", heads as u32)
        .u32("llama.attention.head_count_kv", kv_heads as u32)
        .strings("tokenizer.ggml.tokens", &["a", "b"])
        .tensor("token_embd.weight", &[hidden, vocab], table)
        .tensor("rope_freqs.weight", &[head_dim / 2], F32);
    for i in 0..layers {
        let n = |s: &str| format!("blk.{i}.{s}.weight");
        g = g
            .tensor(&n("attn_norm"), &[hidden], F32)
            .tensor(&n("attn_q"), &[hidden, heads * head_dim], kind)
            .tensor(&n("attn_k"), &[hidden, kv_heads * head_dim], kind)
            .tensor(&n("attn_v"), &[hidden, kv_heads * head_dim], kind)
            .tensor(&n("attn_output"), &[heads * head_dim, hidden], kind)
            .tensor(&n("ffn_norm"), &[hidden], F32)
            .tensor(&n("ffn_gate"), &[hidden, feed_forward], kind)
            .tensor(&n("ffn_up"), &[hidden, feed_forward], kind)
            .tensor(&n("ffn_down"), &[feed_forward, hidden], kind);
    }
    g = g.tensor("output_norm.weight", &[hidden], F32);
    if tied { g } else { g.tensor("output.weight", &[hidden, vocab], table) }
}

/// Sizes of a Llama.
pub struct Llama {
    pub layers: u32,
    pub hidden: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    pub feed_forward: u64,
    pub vocab: u64,
    pub tied: bool,
}

/// Llama 3.1 8B.
pub const LLAMA_8B: Llama = Llama {
    layers: 32,
    hidden: 4096,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    feed_forward: 14_336,
    vocab: 128_256,
    tied: false,
};
