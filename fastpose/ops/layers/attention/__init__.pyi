from fastpose.ops.layers.attention.op import attend as attend
