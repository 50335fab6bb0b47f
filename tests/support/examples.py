"""Messages of `tf.train.Example`, serialized by Google's protobuf from a description of their types."""

import functools

import pytest


@functools.cache
def example_class():
    """The class of the messages, as tensorflow/core/example/{example,feature}.proto declare them."""
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields, inside=file.message_type):
        made = inside.add(name=name)
        for number, (field, kind, repeated) in enumerate(fields, 1):
            named = {"type_name": f".t.{kind}", "type": kinds.TYPE_MESSAGE} if isinstance(kind, str) else {"type": kind}
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            made.field.add(name=field, number=number, label=label, **named)
        return made

    message("BytesList", ("value", kinds.TYPE_BYTES, True))
    message("FloatList", ("value", kinds.TYPE_FLOAT, True))
    message("Int64List", ("value", kinds.TYPE_INT64, True))
    feature = message(
        "Feature",
        ("bytes_list", "BytesList", False),
        ("float_list", "FloatList", False),
        ("int64_list", "Int64List", False),
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message("Features", ("feature", "Features.FeatureEntry", True))
    entry = message(
        "FeatureEntry", ("key", kinds.TYPE_STRING, False), ("value", "Feature", False), inside=features.nested_type
    )
    entry.options.map_entry = True
    message("Example", ("features", "Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def example(features):
    """A serialized example of lists of bytes, floats or integers, of which an empty one is of integers."""
    made = example_class()()
    for name, values in features.items():
        first = values[0] if values else 0
        kind = "bytes_list" if isinstance(first, bytes) else "float_list" if isinstance(first, float) else "int64_list"
        getattr(made.features.feature[name], kind).value.extend(values)
    return made.SerializeToString()
