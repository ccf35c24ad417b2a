"""From an adapter to files that other programs run, each proven against the adapter's own answers.

The flow of ``moviebot export``::

    base (16 bit) + adapter -> merge            one dense model, saved as safetensors
                            -> verify           merged against adapter, on questions about movies never trained on
    merged safetensors      -> gguf_file        f16, q8, q4 (gguf_vocabulary: the tokenizer)
                            -> llama_cpp        the same questions, answered by llama.cpp from those files
    the training prompt     -> chat_template    for Transformers, vLLM and llama.cpp
                            -> ollama           a Modelfile
    adapter                 -> vllm             the LoRA folder as vLLM takes it
    all of it               -> model_card       README.md, and export.json for programs

``command`` walks through it in a folder of its own, and renames that folder when everything has passed.
"""
