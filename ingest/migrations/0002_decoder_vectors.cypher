// Schema version 2: vectors of the decoder, found by direction. One index serves every width: no dimension is fixed, and a query finds
// vectors of its own width only. Not quantised: with quantised vectors the nearest ones are not always found.
CREATE VECTOR INDEX feature_decoder IF NOT EXISTS FOR (x:Feature) ON (x.decoder) OPTIONS {indexConfig: {`vector.similarity_function`: 'cosine', `vector.quantization.enabled`: false}};
