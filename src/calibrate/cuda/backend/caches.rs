//! The KV cache read as decode attention reads it.

use super::{Cuda, narrow};
use crate::calibrate::cuda::CudaError;
use crate::calibrate::cuda::device::Argument;
use crate::calibrate::cuda::memory::Fill;
use crate::calibrate::cuda::replay::Enqueue;
use crate::calibrate::probe::{Benchmark, Prepared};

/// Tokens of a page.
const PAGE: u64 = 16;

impl Cuda {
    #[allow(unsafe_code, reason = "kernels are launched")]
    pub(super) fn kv_read<'a>(
        &'a mut self,
        benchmark: &Benchmark,
        (batch, context, kv_heads): (u64, u64, u64),
        kv_dtype: &str,
    ) -> Result<Box<dyn Prepared + 'a>, CudaError> {
        let eight_bit = kv_dtype == "fp8";
        let element = if eight_bit { 1 } else { 2 };
        let page_bytes = 2 * PAGE * kv_heads * 128 * element;
        let pages = context.div_ceil(PAGE);
        let sets = self.sets(batch * pages * page_bytes);
        // the pool is a power of two of pages, as `page_table` wants it
        let entries = batch * pages * sets;
        let pool = entries.next_power_of_two();
        let table = self.arena.take(entries * 4, "the page table")?;
        let blocks_wanted = u64::from(self.device.info.multiprocessors) * 8;
        let splits = blocks_wanted.div_ceil(batch * kv_heads).clamp(1, context.div_ceil(256));
        let blocks = narrow(batch * kv_heads * splits)?;
        let out = self.arena.take(u64::from(blocks) * 16, "the result")?;
        let kind = if eight_bit { Fill::Fp8 } else { Fill::Bf16 };
        let cache = self.filled(pool * page_bytes, kind, "the KV cache")?;
        let Self { device, monitor, flush, kernels, .. } = self;
        let device = &*device;
        let arguments: [Argument; 3] = [table.into(), narrow(entries)?.into(), narrow(pool)?.into()];
        // SAFETY: the arguments are those of `page_table`; the table has `entries` words
        unsafe { device.launch(kernels.page_table, device.grid(entries), 256, &arguments) }?;
        let kernel = kernels.kv_read[usize::from(eight_bit)];
        let numbers = [narrow(pages)?, narrow(kv_heads)?, narrow(context)?, narrow(splits)?];
        let enqueue: Enqueue<'a> = Box::new(move |set| {
            let mut arguments: Vec<Argument> =
                vec![cache.into(), (table + set * batch * pages * 4).into(), out.into()];
            arguments.extend(numbers.map(Argument::from));
            // SAFETY: the arguments are those of `kv_read_*`; every page of the table lies in the pool, and the
            // result has four words a block
            unsafe { device.launch(kernel, blocks, 128, &arguments) }
        });
        Ok(Self::replay(device, monitor, *flush, benchmark, sets, enqueue))
    }
}
