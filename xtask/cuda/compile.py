"""Compiles CUDA C++ files with NVRTC and ptxas, without a GPU: compile.py FOLDER ARCHITECTURE...

Prints a JSON list: for each file and architecture the registers of a thread and the bytes that it spills, or what the
compiler said. The libraries are those of the wheels nvidia-cuda-nvrtc-cu12, nvidia-cuda-runtime-cu12 and
nvidia-cuda-nvcc-cu12.
"""

import ctypes
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import nvidia

ROOT = pathlib.Path(list(nvidia.__path__)[0])
NVRTC = ctypes.CDLL(str(ROOT / "cuda_nvrtc" / "lib" / "libnvrtc.so.12"))
HEADERS = ROOT / "cuda_runtime" / "include"
PTXAS = ROOT / "cuda_nvcc" / "bin" / "ptxas"
USED = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.DOTALL)


def text(program, size, get):
    """One of the two texts that a program keeps."""
    length = ctypes.c_size_t()
    size(program, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value)
    get(program, buffer)
    return buffer.value.decode()


def ptx(code, architecture):
    """The PTX of a source, and what NVRTC said; no PTX where it failed."""
    program = ctypes.c_void_p()
    NVRTC.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None)
    options = [f"--gpu-architecture={architecture}", f"--include-path={HEADERS}"]
    options = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = NVRTC.nvrtcCompileProgram(program, len(options), options)
    log = text(program, NVRTC.nvrtcGetProgramLogSize, NVRTC.nvrtcGetProgramLog)
    made = None if failed else text(program, NVRTC.nvrtcGetPTXSize, NVRTC.nvrtcGetPTX)
    NVRTC.nvrtcDestroyProgram(ctypes.byref(program))
    return made, log


def resources(code, architecture, folder):
    """Registers and spilled bytes, or the compilers' words."""
    made, log = ptx(code, architecture)
    if made is None:
        return {"error": log}
    (folder / "kernel.ptx").write_text(made)
    command = [PTXAS, "-v", "--gpu-name", architecture, "kernel.ptx", "-o", "kernel.cubin"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    used = USED.search(said.stderr)
    if said.returncode or not used:
        return {"error": said.stderr}
    stores, loads, registers = map(int, used.groups())
    return {"registers": registers, "spilled": stores + loads}


def main():
    sources, architectures = pathlib.Path(sys.argv[1]), sys.argv[2:]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(sources.glob("*.cu")):
            for architecture in architectures:
                found = resources(file.read_text(), architecture, pathlib.Path(folder))
                rows.append({"name": file.stem, "architecture": architecture, **found})
    json.dump(rows, sys.stdout)


main()
