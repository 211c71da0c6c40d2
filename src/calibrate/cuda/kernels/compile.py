"""Makes kernels.ptx from kernels.cu, and sees that every GPU from Turing on assembles it.

    pip install nvidia-cuda-nvrtc-cu12==12.0.* nvidia-cuda-nvcc-cu12==12.9.*
    python compile.py [--check]

NVRTC 12.0 writes PTX ISA 8.0, which drivers from 525 on accept; compute_75 is the oldest target that CUDA 13
still knows. With --check nothing is written: the PTX made must be the one that lies here.
"""

import ctypes
import pathlib
import subprocess
import sys
import sysconfig
import tempfile

HERE = pathlib.Path(__file__).parent
WHEELS = pathlib.Path(sysconfig.get_paths()["purelib"]) / "nvidia"
TARGETS = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_103", "sm_120"]


def compile_to_ptx(source: bytes) -> bytes:
    lib = WHEELS / "cuda_nvrtc" / "lib"
    ctypes.CDLL(str(lib / "libnvrtc-builtins.so.12.0"), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(str(lib / "libnvrtc.so.12"))
    program = ctypes.c_void_p()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None):
        sys.exit("nvrtcCreateProgram failed")
    options = [b"--gpu-architecture=compute_75", b"--std=c++14"]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if log.value:
        print(log.value.decode(), file=sys.stderr)
    if failed:
        sys.exit("kernels.cu does not compile")
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    return ptx.value


def assemble(ptx: bytes) -> None:
    ptxas = WHEELS / "cuda_nvcc" / "bin" / "ptxas"
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "kernels.ptx"
        file.write_bytes(ptx)
        for target in TARGETS:
            command = [str(ptxas), f"--gpu-name={target}", "-v", str(file), "-o", str(file.with_suffix(".cubin"))]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                sys.exit(f"{target}: {run.stderr}")
            spills = [l for l in run.stderr.splitlines() if "spill" in l and " 0 bytes spill stores" not in l]
            if spills:
                sys.exit(f"{target}: registers spill: {spills}")
            print(f"{target}: {run.stderr.count('Compiling entry function')} kernels, no spills")


def main() -> None:
    wanted = [WHEELS / "cuda_nvrtc" / "lib" / "libnvrtc-builtins.so.12.0", WHEELS / "cuda_nvcc" / "bin" / "ptxas"]
    missing = [str(file) for file in wanted if not file.exists()]
    if missing:
        print("not here: " + ", ".join(missing), file=sys.stderr)
        sys.exit(3)
    ptx = compile_to_ptx((HERE / "kernels.cu").read_bytes())
    # comments carry build numbers of the compiler, and every kernel brings a list of architectures that none reads
    lines = (l.strip() for l in ptx.splitlines() if b"nv6target" not in l)
    text = b"".join(l + b"\n" for l in lines if l and not l.startswith(b"//"))
    assemble(text)
    if "--check" in sys.argv:
        if (HERE / "kernels.ptx").read_bytes() != text:
            sys.exit("kernels.ptx is not made from kernels.cu as it stands; run compile.py")
    else:
        (HERE / "kernels.ptx").write_bytes(text)


main()
