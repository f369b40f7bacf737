"""Which of TensorFlow's ops reach out of a computation, and which of those that keep a state are known not to."""

from __future__ import annotations

import re

RISKY_OPS = tuple(
    (does, re.compile(pattern))
    for does, pattern in (
        ("runs Python code", r"(Eager)?PyFunc(Stateless)?|GeneratorDataset"),
        ("runs native code", r"XlaCustomCall(V2)?|CustomPluginOp|MlirPassthroughOp|XlaCallModule"),
        ("runs a graph that is not the model's", r"DatasetFromGraph|RemoteFusedGraphExecute"),
        ("ends the process", r"Abort"),
        ("writes files", r"WriteFile|Save(V2|Slices)?|MergeV2Checkpoints|(Distributed)?Save(Dataset(V2)?)?"),
        (
            "writes files",
            r"CalibrationStatisticsSaver|Create(Summary(File|Db)Writer)|(Snapshot(Chunk)?Dataset|CacheDataset)(V2)?",
        ),
        (
            "reads files",
            r"ReadFile|(Experimental)?MatchingFiles(Dataset)?|LoadAndRemapMatrix|LoadDataset|ImmutableConst",
        ),
        ("reads files", r"InitializeTableFromTextFile(V2)?|ListSnapshotChunksDataset|Snapshot(Nested)?DatasetReader"),
        ("reads files", r"(WholeFile|TextLine|FixedLengthRecord|TFRecord|LMDB)Reader(V2)?"),
        ("reads files", r"(Experimental)?(TFRecord|TextLine|FixedLengthRecord|CSV|LMDB)Dataset(V\d)?"),
        (
            "reads files",
            r"Restore(V2|Slice)?|GenerateVocabRemapping|FixedUnigramCandidateSampler|(De|En)codeProto(V2)?",
        ),
        ("opens a database or a server", r"(Experimental)?SqlDataset|Bigtable\w*|(Register|DataService)Dataset(V\d)?"),
        ("talks to other processes", r"_?(Host)?(Send|Recv)|Collective\w*|Nccl\w*|RemoteCall|Rpc\w*|TryRpc"),
        ("changes how files are reached", r"FileSystemSetConfiguration"),
        (
            "prints what it computes",
            r"Print(V2)?|DumpTensor|Copy(Host)?|Debug(NanCount|(Gradient)?(Ref)?Identity(V[23])?|NumericSummary(V2)?)",
        ),
    )
)
# Ops that keep a state, and nothing else than values: all others of that kind are refused, known or not, since what
# reaches outside must be one of them, but for those above.
HARMLESS_STATE = re.compile(
    "|".join(
        (
            r"StatefulPartitionedCall|_?If|_?While|Case|Assert|CheckNumerics(V2)?|_Arg|_Retval",
            r"GuaranteeConst|DeepCopy|Empty",
            r"_?(VarHandleOp|VarHandlesOp|ReadVariables?Op|Assign(Add|Sub)?VariableOp|ReadVariableXlaSplitND)",
            r"AssignVariableXlaConcatND|VarIsInitializedOp|Variable(V2|Shape)?|TemporaryVariable|ResourceInitializedOp",
            r"Resource(Gather(Nd)?|Scatter\w+|(Sparse)?Apply\w+|StridedSliceAssign|CountUpTo)|DestroyResourceOp",
            r"(Anonymous)?(Mutable)?(Dense)?HashTable(OfTensors)?(V2)?|LookupTable\w+|InitializeTable(V2)?",
            r"Random(Crop|Gamma|Poisson(V2)?|Shuffle|StandardNormal|Uniform(Int)?)|(Parameterized)?TruncatedNormal",
            r"Multinomial|Stateful(RandomBinomial|StandardNormal(V2)?|TruncatedNormal|Uniform\w*)|NonDeterministicInts",
            r"Rng(Skip|ReadAndSkip)|StatelessRandomGetAlg|SampleDistortedBoundingBox(V2)?|CudnnRNN\w*|DeviceIndex",
            r"(All|LearnedUnigram|LogUniform|ThreadUnsafeUnigram|Uniform)CandidateSampler|DisableCopyOnRead",
            r"TensorArray\w*|Stack(Push|Pop|Close)?(V2)?|Xla(If|While|Launch)|MakeWeakResourceHandle",
        )
    )
)


def what_it_does(op: str) -> str | None:
    """What an op does outside of a computation; None for one that is known to stay within."""
    from tensorflow.python.framework import op_def_registry

    does = _way_out(op)
    if does is not None:
        return does
    known = op_def_registry.get(op)
    # an add-on's ops have a namespace: IO>FileRead
    if known is None or ">" in op:
        return "is no op of this TensorFlow; it needs a native library"
    if known.is_stateful and not HARMLESS_STATE.fullmatch(op):
        return "keeps a state, and is not known to be harmless"
    return None


def runs_where_it_stands(op: str) -> bool:
    """Whether an op reaches outside and may run when its graph is imported, whether or not anything calls it.

    TensorFlow evaluates what has no state and takes constants alone, to infer shapes from it: eval_const_tensor.cc.
    """
    from tensorflow.python.framework import op_def_registry

    known = op_def_registry.get(op)
    return known is not None and not known.is_stateful and _way_out(op) is not None


def _way_out(op: str) -> str | None:
    return next((does for does, pattern in RISKY_OPS if pattern.fullmatch(op)), None)
