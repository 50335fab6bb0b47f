"""Collectives are read from the text of a program, in every way in which XLA writes them."""

import pytest

from jaxconv.analysis.collectives import Collective, collectives

LOOPS = """HloModule jit_run, entry_computation_layout={()->f32[]}, num_partitions=8

%part.1 (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %a = f32[4]{0} all-reduce(%x), replica_groups={}, to_apply=%add
  ROOT %t = (s32[], f32[4]{0}) tuple(%i, %a)
}

%step.2 (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %w = (s32[], f32[4]{0}) while(%p), condition=%c, body=%part.1, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %b = f32[6]{0} all-gather(%x), replica_groups=[2,4]<=[4,2]T(1,0), dimensions={0}
}

ENTRY %main (p: f32[4]) -> f32[] {
  ROOT %w = (s32[], f32[4]{0}) while(%p), condition=%c, body=%step.2
}
"""
OPERANDS = {  # the right side of an equation, what it is
    "a tuple with a comment and tiles": (
        "(bf16[10]{0:T(8,128)}, pred[], /*index=2*/f32[2,3]{1,0}) all-reduce(%a, %b, %c), "
        'replica_groups={{0,1},{2,3}}, metadata={op_name="jit(run)/while/body/transpose(jvp(head))/dot_general"}',
        Collective("all-reduce", "backward", 2, 1, 45, 45.0),
    ),
    "asynchronous, with its operand, on a named mesh": (
        "(f32[2], f32[8]) all-gather-start(%a), replica_groups=mesh['axis_0'=2,'axis_1'=4], "
        "device_ids=([4,2]T(1,0)) {'axis_1'}, dimensions={0}, metadata={op_name=\"jit(run)/jvp(stem)/add\"}",
        Collective("all-gather", "forward", 4, 1, 32, 24.0),
    ),
    "a part of the sum": (
        "f32[2]{0} reduce-scatter(%a), replica_groups=[1,4]<=[4]",
        Collective("reduce-scatter", "other", 4, 1, 32, 24.0),
    ),
    "pairs": (
        "(u8[5], u8[5], u32[], u32[]) collective-permute-start(%a), source_target_pairs={{0,1},{1,0}}",
        Collective("collective-permute", "other", 2, 1, 5, 5.0),
    ),
    "one array for each device": (
        "(f32[1], f32[1]) all-to-all(%a, %b), replica_groups={{0,1}}",
        Collective("all-to-all", "other", 2, 1, 8, 4.0),
    ),
}


def test_loops_of_known_length_count_as_often():
    assert collectives(LOOPS) == [
        Collective("all-reduce", "other", 8, calls=3, size=48, sent=84.0),
        Collective("all-gather", "other", 4, calls=1, size=24, sent=18.0),
    ]


@pytest.mark.parametrize("name", OPERANDS)
def test_ways_of_writing(name):
    line, found = OPERANDS[name]
    assert collectives(f"ENTRY %main (p: f32[]) -> f32[] {{\n  ROOT %r = {line}\n}}\n") == [found]


def test_a_program_of_one_device_sends_nothing():
    assert collectives("HloModule f\n\nENTRY %main (p: f32[]) -> f32[] {\n  ROOT %r = f32[] add(%p, %p)\n}\n") == []
